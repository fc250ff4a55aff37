"""Certificates for clients of an edge gateway, from Vault to what Envoy would be told."""
