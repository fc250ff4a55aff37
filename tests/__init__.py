"""Tests; the folders mirror the rooms of ``mesh``."""
