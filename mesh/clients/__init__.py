"""Thin, typed clients of the systems around the mesh, each with its own small error hierarchy."""
