"""Policies: each a package with its model, its validation and what it contributes.

A policy returns its contribution and changes nobody's output; policies ignore one another.
"""
