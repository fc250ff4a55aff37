"""Tests of ``mesh.model``."""
