"""Watchers of the outside world: each parses what it sees and emits typed changes."""
