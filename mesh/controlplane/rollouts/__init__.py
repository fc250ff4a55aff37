"""Rollouts in a zone: measured by every instance, moved on by the leader.

Each instance asks the proxies that are connected to *it* how the calls to both versions go
(``measuring``) and publishes the sums; the leader adds those of all instances up, lets
``mesh.policies.rollouts`` decide, and writes the state (``conductor``, ``store``).  The state
reaches every instance by the watch of ``sources``, as everything that configures proxies does.
"""
