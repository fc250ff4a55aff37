"""Where an edge gateway's certificates are: a part of the settings of a proxy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mesh.config.types import Duration, FilePath, Section, Url, inconsistent


class ApproleSection(Section):
    """Vault's AppRole login."""

    role_id_file: FilePath
    secret_id_file: FilePath
    mount: Annotated[str, Field(min_length=1)] = "approle"


class VaultAuthSection(Section):
    """How an edge gateway logs in to Vault: exactly one way."""

    token_file: FilePath | None = None
    approle: ApproleSection | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token_file is None) == (self.approle is None):
            raise inconsistent([("", "give exactly one of token_file and approle")])
        return self


class VaultSection(Section):
    """The Vault that holds an edge gateway's certificates."""

    address: Url
    auth: VaultAuthSection
    ca_file: FilePath | None = None
    namespace: str = ""
    refresh: Duration = timedelta(minutes=1)

    def for_agent(self) -> dict[str, Any]:
        """Return what the agent reads."""
        approle = self.auth.approle
        return {
            "address": self.address,
            "ca_file": absolute(self.ca_file),
            "namespace": self.namespace,
            "token_file": absolute(self.auth.token_file),
            "role_id_file": absolute(approle.role_id_file) if approle else None,
            "secret_id_file": absolute(approle.secret_id_file) if approle else None,
            "approle_mount": approle.mount if approle else "approle",
            "refresh": self.refresh.total_seconds(),
        }


def absolute(path: Path | None) -> str | None:
    """Return ``path`` as the agent takes it, wherever it is started."""
    return str(path.absolute()) if path else None
