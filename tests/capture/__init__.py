"""Traffic capture."""
