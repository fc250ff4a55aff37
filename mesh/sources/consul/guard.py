"""Sudden emptiness is not deletion.  Pure.

Consul answers a token that lost its rights with 200 and an empty list; a server that lost its
data answers the same.  So when something that had content turns empty, the watcher reads it
once more from the leader, looks at a *witness*, and asks :func:`judge`:

1. The witness is what any token that can do the mesh's work must be able to read: Consul's own
   service ``consul`` (for the catalog, intentions and configuration: in the catalog, by service
   read, which implies intention read; for instances: by service and node read).  For keys it is
   Consul's own verdict on the token; without ACLs, that the mesh has any keys at all.  **Read
   before and hidden now: the token lost rights.**  What was known stands for as long as that lasts.
2. **Consul's index fell below one seen before: the servers lost or restored their state.**
   What was known stands for :attr:`Rules.after_regression`, in which agents register again.
3. **The witness never was readable** (a narrow token, another registry): the emptiness is
   believed once it has lasted for :attr:`Rules.without_witness`.
4. Otherwise the witness vouches for it, and it is believed **at once**.

So a last instance or a last intention that is really deleted takes effect within two further
reads, and within two seconds even without a witness.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """How long, in seconds, an emptiness must last; ``recheck`` bounds the pause between looks."""

    without_witness: float = 1.5
    after_regression: float = 120.0
    recheck: tuple[float, float] = (0.5, 10.0)

    def pause(self, lasted: float) -> float:
        """Return how long to wait before looking again: longer the longer it has lasted."""
        shortest, longest = self.recheck
        return min(max(shortest, lasted / 4), longest)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for and against an emptiness.

    ``witness``: whether it can be read now, None if it never could.  ``regressed``: the index
    fell.  ``lasted``: seconds since the emptiness was first seen.
    """

    witness: bool | None
    regressed: bool
    lasted: float


def judge(evidence: Evidence, rules: Rules) -> str:
    """Return why the emptiness is not to be believed yet, or nothing if it is."""
    if evidence.witness is False:
        return (
            "it turned empty, and Consul no longer shows its own service to our token: "
            "the token lost rights. The last known state stands. Give the token's policy "
            'service_prefix "" and node_prefix "" read again'
        )
    if evidence.regressed and evidence.lasted < rules.after_regression:
        return (
            "it turned empty and Consul's index fell: the servers lost or restored their state. "
            f"The last known state stands for {rules.after_regression:g} s"
        )
    if evidence.witness is None and evidence.lasted < rules.without_witness:
        return "it turned empty; waiting whether that lasts"
    return ""
