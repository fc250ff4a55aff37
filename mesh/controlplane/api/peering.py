"""``/v1/peers`` for an administrator, ``/v1/peering`` for the other side."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from mesh.ca.peering import MAX_CHARACTERS
from mesh.controlplane.api.model import Nothing, Wire
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.peering.following import DOCUMENT
from mesh.controlplane.peering.office import ESTABLISH, MAX_TTL, PeeringOffice
from mesh.model import names
from mesh.routing.exports import exports
from mesh.sources.zones.peers import Invitation, Peer
from mesh.world.snapshot import World

ZoneName = Annotated[str, AfterValidator(names.zone_name)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class InvitationRequest(Wire):
    """A peering token to be made, for the zone that is called so."""

    name: ZoneName
    ttl_seconds: Annotated[float, Field(gt=0, le=MAX_TTL.total_seconds())] = 3600


class InvitationAnswer(Wire):
    """A new peering token; it is shown this once."""

    token: str
    id: str
    expires_at: AwareDatetime


class AcceptRequest(Wire):
    """A peering token of another zone, that this one shall become a peer of."""

    token: Word


class EstablishRequest(Wire):
    """A token that was made here, and who shows it."""

    token: Word
    introduction: Word


class PeerSummary(Wire):
    """One peer: what is known of it, and what each lets the other call.

    ``heard_at`` is when it last said something new, ``read_at`` when it was last asked;
    ``error`` says why it cannot be heard now.
    """

    name: str
    state: Literal["invited", "peer"]
    trust_domain: str = ""
    gateways: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    exported: tuple[str, ...] = ()
    since: AwareDatetime | None = None
    read_at: AwareDatetime | None = None
    heard_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    error: str = ""


class PeersAnswer(Wire):
    """Every peer, and every invitation."""

    peers: list[PeerSummary]


class ToldQuery(Wire):
    """What was told last: the answer comes when there is something else, or in a while."""

    index: Annotated[int, Field(ge=0, strict=False)] = 0


class ToldAnswer(Wire):
    """What a peer is told."""

    index: int
    document: dict[str, Any]


def routes(office: PeeringOffice) -> list[AnyRoute]:
    """Return the routes of the peering."""

    async def invite(call: Call, request: InvitationRequest) -> InvitationAnswer:
        ttl = timedelta(seconds=request.ttl_seconds)
        made = await office.invite(request.name, ttl, call.source)
        return InvitationAnswer(token=made.token, id=made.id, expires_at=made.expires_at)

    async def accept(call: Call, request: AcceptRequest) -> PeerSummary:
        zone = await office.accept(request.token, call.source)
        return PeerSummary(name=zone.name, state="peer", trust_domain=zone.trust_domain)

    async def known(_call: Call, _request: Nothing) -> PeersAnswer:
        found = await office.known()
        return PeersAnswer(
            peers=[_summary(name, one, office.world()) for name, one in found.items()]
        )

    async def forget(call: Call, _request: Nothing) -> Nothing:
        await office.forget(call.path["name"], call.source)
        return Nothing()

    async def establish(call: Call, request: EstablishRequest) -> Nothing:
        await office.establish(request.token, request.introduction, call.source)
        return Nothing()

    async def told(call: Call, request: ToldQuery) -> ToldAnswer:
        data, index = await office.told(call.zone, request.index)
        return ToldAnswer(index=index, document=json.loads(data))

    admin, body, nothing = Caller.ADMIN, Reads.BODY, Reads.NOTHING
    return [
        Route(
            "POST",
            "/v1/peers/invitations",
            "Make a peering token, for a zone of another organisation",
            admin,
            body,
            InvitationRequest,
            InvitationAnswer,
            invite,
            status=201,
        ),
        Route(
            "POST",
            "/v1/peers",
            "Become the peer of the zone that made a peering token",
            admin,
            body,
            AcceptRequest,
            PeerSummary,
            accept,
            status=201,
        ),
        Route("GET", "/v1/peers", "The zone's peers", admin, nothing, Nothing, PeersAnswer, known),
        Route(
            "DELETE",
            "/v1/peers/{name}",
            "End a peering, or withdraw an invitation",
            admin,
            nothing,
            Nothing,
            Nothing,
            forget,
        ),
        Route(
            "POST",
            ESTABLISH,
            "Show a peering token (by the name of the peering only)",
            Caller.INVITED,
            body,
            EstablishRequest,
            Nothing,
            establish,
        ),
        Route(
            "GET",
            DOCUMENT,
            "What the peer that asks is told (by its own name of the peering only)",
            Caller.PEER,
            Reads.QUERY,
            ToldQuery,
            ToldAnswer,
            told,
        ),
    ]


def _summary(name: str, found: Invitation | Peer, world: World) -> PeerSummary:
    if isinstance(found, Invitation):
        return PeerSummary(name=name, state="invited", expires_at=found.expires_at)
    zone = found.zone
    return PeerSummary(
        name=name,
        state="peer",
        trust_domain=zone.trust_domain,
        gateways=tuple(f"{each.address}:{each.port}" for each in zone.gateways),
        imported=tuple(sorted(zone.services)),
        exported=tuple(sorted(exports(world, peer=name))),
        since=found.since,
        read_at=found.record.read_at,
        heard_at=found.record.heard_at,
        error=found.record.error,
    )
