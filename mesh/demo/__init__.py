"""A small mesh on one machine, out of real parts: for ``mesh demo`` and for the tests.

``estate`` starts and ends the parts, ``applications`` are the services, ``load`` counts what
becomes of steady traffic, ``story`` is what the demo shows.
"""
