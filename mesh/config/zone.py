"""Settings of a zone's control plane, ``mesh zone``.

Nothing secret stands here: a token, a key or a password is always the path of a file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.config import loading
from mesh.config.types import (
    Count,
    Duration,
    ExistingFile,
    FilePath,
    HostPort,
    HostPorts,
    Number,
    Section,
    TrustDomain,
    Url,
    ZoneName,
    inconsistent,
    is_unspecified,
)

PREFIX: Final = "MESH_ZONE__"
"""How the variables of ``mesh zone`` begin."""
ADMIN_TOKEN_FILE: Final = "admin-token"
"""Name of the admin token's file in the data directory."""
BUNDLE_FILE: Final = "bundle.pem"
"""Name of the file in the data directory into which the zone writes the trust bundle."""


def _switch(value: object) -> object:
    """Let ``embedded: true`` mean the embedded registry with its defaults, ``false`` none."""
    switched = value.lower() if isinstance(value, str) else value
    if switched is True or switched == "true":
        return {}
    return None if switched is False or switched == "false" else value


BaseUrl = Annotated[Url, AfterValidator(lambda url: url.rstrip("/"))]
"""A URL to which paths are added."""


class EmbeddedSettings(Section):
    """The registry inside the process, for a laptop."""

    listen: HostPort = HostPort("127.0.0.1", 8500)
    neighbours: dict[str, BaseUrl] = Field(default_factory=dict)


class ConsulSettings(Section):
    """How Consul is reached."""

    url: BaseUrl = "http://127.0.0.1:8500"
    token_file: ExistingFile | None = None
    ca_file: ExistingFile | None = None
    cert_file: ExistingFile | None = None
    key_file: ExistingFile | None = None
    max_watches: Annotated[Count, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            missing = "key_file" if self.key_file is None else "cert_file"
            raise inconsistent([(missing, "cert_file and key_file go together")])
        return self


class ApproleSettings(Section):
    """Vault's AppRole login."""

    role_id_file: ExistingFile
    secret_id_file: ExistingFile


class VaultAuthSettings(Section):
    """How the zone logs in to Vault: exactly one way."""

    token_file: ExistingFile | None = None
    approle: ApproleSettings | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token_file is None) == (self.approle is None):
            raise inconsistent([("", "give exactly one of token_file and approle")])
        return self


class VaultSettings(Section):
    """The Vault that signs."""

    address: BaseUrl
    auth: VaultAuthSettings
    mount: Annotated[str, Field(min_length=1)] = "pki"
    role: Annotated[str, Field(min_length=1)] = "mesh-workload"
    ca_file: ExistingFile | None = None
    namespace: str = ""


class CaSettings(Section):
    """Who signs certificates, and for how long."""

    mode: Literal["builtin", "vault", "vault-sign"] = "builtin"
    leaf_ttl: Duration = timedelta(hours=24)
    intermediate_ttl: Duration = timedelta(hours=72)
    vault: VaultSettings | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = []
        if self.mode != "builtin" and self.vault is None:
            found.append(("vault", f"is required with mode {self.mode!r}: give address and auth"))
        if self.mode == "builtin" and self.vault is not None:
            found.append(("mode", "is 'builtin' but vault is given: use 'vault' or 'vault-sign'"))
        if self.leaf_ttl >= self.intermediate_ttl:
            found.append(("leaf_ttl", "must be shorter than intermediate_ttl"))
        if found:
            raise inconsistent(found)
        return self


class ListenSettings(Section):
    """Where the zone listens.  Port 0 takes a free one."""

    api: HostPort = HostPort("0.0.0.0", 5678)  # noqa: S104 - a control plane serves its network
    xds: HostPort = HostPort("0.0.0.0", 5679)  # noqa: S104 - likewise
    metrics: HostPort = HostPort("0.0.0.0", 5680)  # noqa: S104 - likewise

    @model_validator(mode="after")
    def _apart(self) -> Self:
        places: dict[HostPort, str] = {}
        found = []
        for name in type(self).model_fields:
            place: HostPort = getattr(self, name)
            if place.port and place in places:
                found.append((name, f"{place} is already taken by {places[place]}"))
            places.setdefault(place, name)
        if found:
            raise inconsistent(found)
        return self


class AdvertiseSettings(Section):
    """What agents are told to dial; by default what is listened on, or this host's name."""

    api: HostPort | None = None
    xds: HostPorts = ()


class RateSettings(Section):
    """A token bucket: ``rate`` a second, up to ``burst`` at once."""

    rate: Annotated[Number, Field(gt=0)]
    burst: Annotated[Count, Field(ge=1)]


class EnrolmentSettings(Section):
    """How many certificates are given out, and how long a bound join token re-attests."""

    rate: Annotated[Number, Field(gt=0)] = 50.0
    burst: Annotated[Count, Field(ge=1)] = 200
    per_address: RateSettings = RateSettings(rate=10.0, burst=100)
    reattest_for: Duration = timedelta(days=90)
    max_token_ttl: Duration = timedelta(days=30)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.reattest_for < self.max_token_ttl:
            # A revocation is remembered for reattest_for; a token must not outlive that.
            raise inconsistent([("reattest_for", "must not be shorter than max_token_ttl")])
        return self


class AdminSettings(Section):
    """Who may administer.  Without a file, one is made in ``data_dir`` at the first start."""

    token_file: FilePath | None = None


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


def default_data_dir() -> Path:
    """Return where the zone keeps its files: the system's place for root, else the user's."""
    if os.geteuid() == 0:
        return Path("/var/lib/mesh")
    return Path.home() / ".local" / "state" / "mesh"


class ZoneSettings(Section):
    """All settings of ``mesh zone``.

    ``zone`` is learned from Consul's datacenter where it is not given.
    """

    zone: ZoneName | None = None
    trust_domain: TrustDomain = "mesh.internal"
    data_dir: FilePath = Field(default_factory=default_data_dir)
    embedded: Annotated[EmbeddedSettings | None, BeforeValidator(_switch)] = None
    consul: ConsulSettings = ConsulSettings()
    ca: CaSettings = CaSettings()
    listen: ListenSettings = ListenSettings()
    advertise: AdvertiseSettings = AdvertiseSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.embedded is not None and "consul" in self.model_fields_set:
            raise inconsistent(
                [("consul", "is given together with embedded: remove one of the two")]
            )
        return self

    @property
    def consul_url(self) -> str:
        """Where the Consul API is, embedded or real."""
        return f"http://{self.embedded.listen}" if self.embedded else self.consul.url

    @property
    def admin_token_file(self) -> Path:
        """The file with the admin token."""
        return self.admin.token_file or self.data_dir / ADMIN_TOKEN_FILE

    @property
    def bundle_file(self) -> Path:
        """The file that the zone writes the trust bundle to, for commands on its host."""
        return self.data_dir / BUNDLE_FILE

    @property
    def advertised_api(self) -> HostPort:
        """Where agents are told to enrol and renew."""
        return self.advertise.api or _dialled(self.listen.api)

    @property
    def advertised_xds(self) -> tuple[HostPort, ...]:
        """Where agents are told to fetch configuration."""
        return self.advertise.xds or (_dialled(self.listen.xds),)


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> ZoneSettings:
    """Read the zone's settings.

    Raises:
        InvalidInputError: with every violation.

    """
    return loading.load(ZoneSettings, prefix=PREFIX, file=file, overrides=overrides)


def _dialled(listened: HostPort) -> HostPort:
    if is_unspecified(listened.host):
        return HostPort(socket.gethostname(), listened.port)
    return listened
