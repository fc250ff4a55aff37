"""Tests of mesh.clients."""
