"""The zone's control plane: enrolment, registration, administration, and the leader's duties.

Stateless: what it knows is in Consul and in the trust bundle, so that two run side by side and
either may be killed.  Decisions are plain functions; the coroutines beside them carry them out.
"""
