"""Tests of how rollouts go on."""
