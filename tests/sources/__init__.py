"""Tests of mesh.sources."""
