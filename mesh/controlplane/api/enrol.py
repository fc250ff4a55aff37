"""``/v1/enrol`` and ``/v1/renew``: certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.controlplane.api.model import CertificateAnswer, EnrolRequest, RenewRequest
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.enrolment import Enrolment, Granted, Holder, Newcomer
from mesh.model.identity import ZoneId

XdsAddresses = Callable[[], Sequence[str]]
"""Returns where agents fetch configuration, as ``host:port``."""


def routes(zone: ZoneId, enrolment: Enrolment, xds: XdsAddresses) -> list[AnyRoute]:
    """Return the routes of certificates."""

    def answer(granted: Granted) -> CertificateAnswer:
        return CertificateAnswer(
            certificate_chain=granted.certificate_chain,
            bundle=granted.bundle,
            serial=granted.serial,
            not_after=granted.not_after,
            zone=zone.zone,
            trust_domain=zone.trust_domain,
            xds=list(xds()),
        )

    async def enrol(call: Call, request: EnrolRequest) -> CertificateAnswer:
        newcomer = Newcomer(
            request.service, request.csr, request.proof.kind, request.proof.token, call.source
        )
        return answer(await enrolment.enrol(newcomer))

    async def renew(call: Call, request: RenewRequest) -> CertificateAnswer:
        peer = call.workload
        holder = Holder(peer.identity, peer.serial, request.csr, call.source, request.token_id)
        return answer(await enrolment.renew(holder))

    return [
        Route(
            "POST",
            "/v1/enrol",
            "A first certificate, for a proof",
            Caller.ANYBODY,
            Reads.BODY,
            EnrolRequest,
            CertificateAnswer,
            enrol,
        ),
        Route(
            "POST",
            "/v1/renew",
            "The next certificate, for the holder of a valid one",
            Caller.WORKLOAD,
            Reads.BODY,
            RenewRequest,
            CertificateAnswer,
            renew,
        ),
    ]
