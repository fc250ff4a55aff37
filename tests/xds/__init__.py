"""Tests of the xDS room."""
