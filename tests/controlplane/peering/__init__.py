"""Peers: how they are made, what they can ask for, and how they are followed."""
