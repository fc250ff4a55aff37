"""Tests of mesh.sources.consul."""
