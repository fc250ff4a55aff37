"""``/v1/bundle``: the trust bundle, for whoever has its fingerprint."""

from __future__ import annotations

from mesh.controlplane.api.model import BundleAnswer, Nothing
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.trust import Trust
from mesh.model.identity import ZoneId


def routes(zone: ZoneId, trust: Trust) -> list[AnyRoute]:
    """Return the route of the bundle."""

    async def bundle(_call: Call, _request: Nothing) -> BundleAnswer:
        found = trust.bundle()
        return BundleAnswer(
            trust_domain=zone.trust_domain,
            zone=zone.zone,
            bundle=found.pem,
            fingerprint=found.fingerprint,
        )

    return [
        Route(
            "GET",
            "/v1/bundle",
            "The trust bundle; believe it only if its fingerprint is the one you were given",
            Caller.ANYBODY,
            Reads.NOTHING,
            Nothing,
            BundleAnswer,
            bundle,
        )
    ]
