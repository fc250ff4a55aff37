"""What zones write of themselves and of each other."""
