"""Typed builders of Envoy's configuration: pure functions from values to messages."""
