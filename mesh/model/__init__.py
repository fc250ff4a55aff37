"""Immutable values that every room shares: names, identities, services, intentions.

Nothing here does I/O or imports another room.  A value that exists is valid: parsing
functions collect every violation and raise once.
"""
