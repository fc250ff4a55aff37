"""Tests of ``mesh.routing``."""
