"""Gateways: what a proxy has that stands between zones, or at the edge of the mesh."""
