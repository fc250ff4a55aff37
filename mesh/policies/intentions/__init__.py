"""Consul intentions: who may call whom.

The values are :mod:`mesh.model.intentions`.  Here is what they mean: which are valid
(``validate``), what becomes of a call (``verdict``), how to change that (``advice``), and
the Envoy filters that enforce it (``compile``).  Verdict and filters are held equal by test,
and the verdict is held equal to Consul's own.
"""

from mesh.policies.intentions.advice import what_would_change
from mesh.policies.intentions.compile import Authorization, Scope, authorize
from mesh.policies.intentions.matching import Call
from mesh.policies.intentions.validate import validate, validate_all, validate_regex
from mesh.policies.intentions.verdict import Verdict, applicable, can_connect, judge

__all__ = [
    "Authorization",
    "Call",
    "Scope",
    "Verdict",
    "applicable",
    "authorize",
    "can_connect",
    "judge",
    "validate",
    "validate_all",
    "validate_regex",
    "what_would_change",
]
