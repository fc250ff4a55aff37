"""Tests of mesh.clients.consul."""
