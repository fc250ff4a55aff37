"""The rate limit service."""
