"""Names of the two servers, for tests that only one of them can pass."""

EMBEDDED, REAL = "embedded", "consul-1.8.7"
