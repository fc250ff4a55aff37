"""Tests of mesh.config."""
