"""What the zones of one mesh tell each other."""
