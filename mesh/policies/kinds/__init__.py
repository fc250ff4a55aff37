"""The kinds of policies, a module each, and what some of them share.

They ignore one another; ``policies.registry`` has them all.
"""
