"""Consul's filter expressions (go-bexpr): which instances of a service a subset has.

A resolver's ``Filter`` selects entries of ``/v1/health/connect/<service>``, that is, sidecars.
``grammar`` reads the text, ``selectors`` knows what may be asked of an instance, and in
``predicates`` both meet.  What Consul would not accept is refused, and so is what Consul knows of
an instance and the mesh does not: a filter never silently selects nothing.

One thing surprises, and is Consul's: a key that an instance's metadata lacks fails ``==`` and
``in``, and satisfies ``!=``, ``not in``, ``matches`` *and* ``not matches``.  To be sure, write
``version in Service.Meta and Service.Meta.version matches ...``.
"""

from mesh.routing.bexpr.grammar import InvalidFilterError
from mesh.routing.bexpr.predicates import evaluate, parse

__all__ = ["InvalidFilterError", "evaluate", "parse"]
