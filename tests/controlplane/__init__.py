"""Tests of mesh.controlplane, and of the commands that ask it."""
