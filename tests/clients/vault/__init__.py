"""Tests of the Vault client, against a real OpenBao."""
