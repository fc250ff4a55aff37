"""The routes, one small module per part of Consul's HTTP API."""
