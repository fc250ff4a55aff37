"""Tests of mesh.aio."""
