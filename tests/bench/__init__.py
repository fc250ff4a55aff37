"""Benches: they measure and print, they do not judge."""
