"""The units."""
