"""Tests of ``mesh.envoy``."""
