"""What the API reads and answers: strict, so unknown fields and wrong types are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    model_validator,
)

from mesh.controlplane.registrations import instance_id, ip_literal
from mesh.model import callers, names
from mesh.model.services import Health

_MAX_PEM = 64 * 1024
_MAX_TOKEN = 16 * 1024
_LONGEST = 10 * 365 * 86_400.0
"""Seconds that a join token may be good for before the zone's own limit is asked."""

Pem = Annotated[str, Field(min_length=1, max_length=_MAX_PEM)]
Port = Annotated[int, Field(ge=1, le=65_535)]
ServiceName = Annotated[str, AfterValidator(names.service_name)]
CallerName = Annotated[str, AfterValidator(callers.checked)]
InstanceId = Annotated[str, AfterValidator(instance_id)]
IpAddress = Annotated[str, AfterValidator(ip_literal)]


class Wire(BaseModel):
    """Base of everything that goes over the wire."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Nothing(Wire):
    """No content."""


class Document(RootModel[dict[str, Any]]):
    """A JSON object whose shape another specification defines."""


class ViolationBody(Wire):
    """One thing wrong with a request."""

    path: str
    message: str


class ErrorBody(Wire):
    """What every error answers: what failed, what to do, and all that is wrong with the request."""

    error: str
    remedy: str = ""
    violations: list[ViolationBody] = []


class BundleAnswer(Wire):
    """The trust bundle, to be pinned by its fingerprint."""

    trust_domain: str
    zone: str
    bundle: str
    fingerprint: str


class Proof(Wire):
    """What shows that the sender may be the service."""

    kind: Literal["join-token", "consul-token"]
    token: Annotated[str, Field(min_length=1, max_length=_MAX_TOKEN)]


class EnrolRequest(Wire):
    """A newcomer's request for a certificate."""

    csr: Pem
    service: ServiceName
    proof: Proof


class RenewRequest(Wire):
    """A certificate holder's request for the next one.

    ``token_id`` names the join token that the host enrolled with, if any: its time to prove
    itself again then runs anew.
    """

    csr: Pem
    token_id: Annotated[str, Field(max_length=128)] = ""


class CertificateAnswer(Wire):
    """A certificate, and where to go with it."""

    certificate_chain: str
    bundle: str
    serial: str
    not_after: AwareDatetime
    zone: str
    trust_domain: str
    xds: list[str]


class RegistrationRequest(Wire):
    """An instance as its agent describes it; ``port`` is the sidecar's."""

    id: InstanceId
    service: ServiceName
    address: IpAddress
    port: Port
    app_port: Port
    tags: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=64)] = []
    meta: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")],
            Annotated[str, Field(max_length=512)],
        ],
        Field(max_length=64),
    ] = {}
    health: Literal["passing", "warning", "critical"] = Health.PASSING.value
    output: Annotated[str, Field(max_length=4096)] = ""


class LeaseAnswer(Wire):
    """How long the registration stands without another heartbeat."""

    lease_seconds: float


class TokenRequest(Wire):
    """A join token to be made: for one service, or for all whose names begin with a prefix."""

    service: ServiceName | None = None
    prefix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    ttl_seconds: Annotated[float, Field(gt=0, le=_LONGEST)] = 3600
    reusable: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.service is None) == (self.prefix is None):
            raise ValueError("give exactly one of service and prefix")
        return self


class TokenAnswer(Wire):
    """A new join token; it is shown this once."""

    token: str
    id: str
    expires_at: AwareDatetime


class Nack(Wire):
    """What a proxy refuses now, and why."""

    resources: list[str]
    reason: str


class ProxyType(Wire):
    """How one type of resource stands at a proxy; ``sent`` and ``acked`` count responses."""

    type: str
    subscribed: int
    sent: int
    acked: int
    nacks: int
    nack: Nack | None = None


class ProxySummary(Wire):
    """A connected proxy.

    ``in_sync`` says that it acknowledged the newest of everything; the certificate is the one
    it connected with, which it may have renewed since.
    """

    id: str
    service: str
    zone: str
    role: str
    address: str
    connected_at: AwareDatetime
    certificate_expires_at: AwareDatetime
    in_sync: bool
    types: list[ProxyType]


class ProxiesAnswer(Wire):
    """Every proxy connected to this instance of the zone."""

    proxies: list[ProxySummary]


class ProxyResource(Wire):
    """One resource of a proxy; acknowledged once the proxy has taken all of its type."""

    name: str
    version: str
    acknowledged: bool
    content: dict[str, Any]


class ProxyConfigAnswer(Wire):
    """What a proxy was sent, by type URL."""

    id: str
    resources: dict[str, list[ProxyResource]]


class ServiceSummary(Wire):
    """A service of the zone."""

    name: str
    protocol: str
    instances: int
    healthy: int
    proxies: int
    ipv4: str = ""
    ipv6: str = ""


class ServicesAnswer(Wire):
    """The zone's services."""

    services: list[ServiceSummary]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ExplainQuery(Wire):
    """A call to be judged; ``header`` is ``name=value`` and may be repeated.

    ``proxy`` is the instance of the source that calls: the first by its id, if none is named.
    """

    source: CallerName
    destination: ServiceName
    method: str = ""
    path: str = ""
    header: Annotated[
        list[Annotated[str, Field(pattern=r"^[^=]+=")]], BeforeValidator(_listed)
    ] = []
    proxy: str = ""


class Problem(Wire):
    """Something that cannot be used as it stands.

    ``kind`` and ``name`` say who is to blame: an entry, a policy, or a part of a proxy's
    configuration that cannot be made.  ``standing`` tells what holds meanwhile, ``services``
    calls to whom are concerned.
    """

    kind: str
    name: str
    message: str
    since: AwareDatetime | None = None
    violations: list[ViolationBody] = []
    standing: str = ""
    services: list[str] = []


class ProblemsAnswer(Wire):
    """Everything that is kept at its last good version."""

    problems: list[Problem]


class StatusAnswer(Wire):
    """How this instance of the zone fares."""

    zone: str
    trust_domain: str
    version: str
    instance: str
    leader: bool
    ready: bool
    reasons: list[str] = []
    proxies: int
    services: int
    consul: str
    ca_mode: str
    ca_expires_at: AwareDatetime | None = None
    warnings: list[str] = []
    time: datetime
