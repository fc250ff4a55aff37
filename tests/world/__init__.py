"""Tests of ``mesh.world``."""
