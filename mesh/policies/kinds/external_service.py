"""MeshExternalService: a service outside the mesh, which callers name like one within.

The document's name is the service's name.  Source: Kuma's MeshExternalService.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal, Self

from cryptography import x509
from pydantic import AfterValidator, Field, model_validator

from mesh.model.destinations import External, Host
from mesh.model.names import is_dns_name
from mesh.model.services import Protocol
from mesh.policies.document import Document
from mesh.policies.kind import Kind
from mesh.policies.shape import EVERY_PROXY, ProxyRef, Strict
from mesh.policies.spec import Spec
from mesh.policies.units import Port


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if not is_dns_name(value):
            raise ValueError(f"{value!r} is neither a DNS name nor an IP address") from None
    return value


def _certificates(value: str) -> str:
    if "PRIVATE KEY" in value:
        raise ValueError("holds a private key: give certificates only")
    try:
        x509.load_pem_x509_certificates(value.encode())
    except ValueError as error:
        raise ValueError("is not PEM with at least one certificate") from error
    return value


def _nobody(_: ProxyRef) -> ProxyRef:
    raise ValueError("is not possible: who may call is said by intentions")


class MatchModel(Strict):
    """How callers speak to it."""

    protocol: Literal["tcp", "http", "http2", "grpc"] = "tcp"
    """What the service speaks."""


class Endpoint(Strict):
    """One place where the service answers."""

    address: Annotated[str, AfterValidator(_address)]
    """A DNS name or an IP address."""
    port: Port
    """The TCP port."""


class TlsModel(Strict):
    """How the proxy encrypts what the application sends in plain text."""

    enabled: bool = True
    """Whether the proxy speaks TLS to the service."""
    sni: str = ""
    """The server name that is asked for; the endpoint's address where nothing is said."""
    subject_alt_names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names one of which the certificate must have; ``sni`` where nothing is said."""
    ca_cert: Annotated[str, AfterValidator(_certificates)] | None = None
    """PEM of the authorities that are believed; those of the system where nothing is said."""
    verification: Literal["Verified", "SkipAll"] = "Verified"
    """``SkipAll`` believes any certificate: for a test only."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.enabled and len(self.model_fields_set) > 1:
            raise ValueError("takes nothing beside enabled: false")
        if self.verification == "SkipAll" and (self.ca_cert or self.subject_alt_names):
            raise ValueError("verification SkipAll takes neither caCert nor subjectAltNames")
        return self


class ExternalServiceSpec(Spec):
    """The ``spec`` of MeshExternalService."""

    # Checked only where it is given.
    target_ref: Annotated[ProxyRef, AfterValidator(_nobody)] = EVERY_PROXY
    """Not possible: whoever may call the service, by intentions, is concerned."""
    match: MatchModel = MatchModel()
    """How callers speak to it."""
    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    """Where it answers."""
    tls: TlsModel | None = None
    """How the proxy encrypts what the application sends in plain text."""
    egress: bool = False
    """Whether calls leave by the zone's egress gateways, which judge and encrypt them, and never
    by the caller's own proxy."""

    def about(self, name: str) -> tuple[str, ...]:
        """Return the service that the document describes: the one of its name."""
        return (name,)


def external(document: Document) -> tuple[External, Protocol]:
    """Return what ``document``, a MeshExternalService, describes."""
    spec = document.spec
    if not isinstance(spec, ExternalServiceSpec):
        raise TypeError(f"{document.label} is no MeshExternalService")
    hosts = tuple(Host(each.address, each.port) for each in spec.endpoints)
    protocol = Protocol(spec.match.protocol)
    tls = spec.tls
    if tls is None or not tls.enabled:
        return External(hosts), protocol
    found = External(
        hosts,
        tls=True,
        sni=tls.sni,
        names=tls.subject_alt_names,
        ca=tls.ca_cert or "",
        verify=tls.verification == "Verified",
    )
    return found, protocol


def by_egress(document: Document) -> bool:
    """Say whether calls to what ``document`` describes leave by the egress gateways."""
    return bool(getattr(document.spec, "egress", False))


KIND: Final = Kind(
    name="MeshExternalService",
    summary="A service outside the mesh, called by name, with TLS from the proxy if wanted.",
    spec=ExternalServiceSpec,
    example="""\
type: MeshExternalService
name: payments
spec:
  match: {protocol: http}
  endpoints:
    - {address: payments.example.com, port: 443}
  tls:
    enabled: true
    sni: payments.example.com
    verification: Verified
""",
)
