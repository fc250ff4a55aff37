"""Tests of mesh.ca; those of the Vault modes run against a real OpenBao."""
