"""Tests of the kinds of policy, one module each."""
