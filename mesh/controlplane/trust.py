"""Whom the zone's workloads shall believe: its own roots, and those of its trust domain's zones.

Zones of one trust domain are one authority: mostly all their certificates go back to one root in
one Vault, and where each has a root of its own their workloads must believe every one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mesh.ca.bundle import InvalidBundleError, TrustBundle, from_pem
from mesh.ca.issuer import Issuer
from mesh.world.snapshot import World

_NOTHING: Final = ("", ())

logger = logging.getLogger(__name__)


class Trust:
    """The bundle that is handed out.  The signing root stays the first, which tokens pin."""

    def __init__(self, issuer: Issuer, world: Callable[[], World]) -> None:
        """Join the roots of ``issuer`` and of the zones that ``world`` knows."""
        self._issuer = issuer
        self._world = world
        self._made_of: tuple[str, tuple[str, ...]] = _NOTHING
        self._bundle: TrustBundle | None = None

    def bundle(self) -> TrustBundle:
        """Return the bundle as of now."""
        own, world = self._issuer.bundle(), self._world()
        others = tuple(
            zone.bundle
            for _, zone in sorted(world.zones.items())
            if zone.trust_domain == own.trust_domain and zone.bundle != own.pem and not zone.peer
        )
        if not others:
            return own
        made_of = (own.pem, others)
        if self._bundle is None or made_of != self._made_of:
            self._bundle, self._made_of = _joined(own, others), made_of
        return self._bundle


def _joined(own: TrustBundle, others: tuple[str, ...]) -> TrustBundle:
    bundle = own
    for pem in others:
        try:
            bundle = TrustBundle.of((*bundle.roots, *from_pem(pem)), own.trust_domain)
        except InvalidBundleError as error:
            logger.warning("a zone's roots are not believed", extra={"reason": str(error)})
    return bundle
