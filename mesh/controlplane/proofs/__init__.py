"""The ways to prove who one is at first: one module for each.

A proof is checked for one service and one key, and yields the id under which it is audited.
"""
