"""Tests of the proxy's agent."""
