"""A small mesh on one machine, out of real parts: for ``mesh demo`` and for the tests.

``estate`` starts and ends the parts, each a child of ``processes``, and ``places`` tells where
they are; ``servers`` are those the mesh stands on, ``applications`` the services.  ``load``
counts what becomes of steady traffic, ``story`` is what the demo shows, and ``show`` narrates it.
"""
