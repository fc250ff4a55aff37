"""One suite against the embedded registry and against a real Consul, which is right."""
