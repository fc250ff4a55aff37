"""Tests of ``mesh.render``."""
