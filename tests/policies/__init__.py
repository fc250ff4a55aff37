"""Tests of ``mesh.policies``."""
