"""A certificate for clients as a value, and the form of its copy in the state directory.

Nothing here does I/O.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mesh.agent.identity import SECRET_TYPE
from mesh.model.certificates import CertificateSource

COPY: Final = re.compile(r"certificate-[0-9a-f]{24}\.json|\.certificate-[0-9a-f]{24}\.json\.new")
"""What the file of a copy is called, and that of one whose writing was cut short."""
_JITTER: Final = 0.1
_SOONEST: Final = timedelta(seconds=5)
"""However short a certificate's life, or however wrong a clock."""


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate that Envoy may have.  ``version`` differs whenever its content does."""

    chain: str
    key: str
    fetched_at: datetime
    not_after: datetime

    @property
    def version(self) -> str:
        """What tells it from the one of before."""
        return hashlib.sha256(f"{self.chain}{self.key}".encode()).hexdigest()[:16]

    def renew_at(self, jitter: float) -> datetime:
        """Return when to have the next one signed: half way through, up to a tenth earlier.

        Counted from when we had it: a role dates it back, by half a minute unless told otherwise.
        """
        left = self.not_after - self.fetched_at
        return self.fetched_at + max(left * (0.5 - _JITTER * jitter), _SOONEST)


def file_of(source: CertificateSource) -> str:
    """Return the name of the file that ``source`` is kept in."""
    return f"certificate-{hashlib.sha256(source.name.encode()).hexdigest()[:24]}.json"


def resource(name: str, chain: str, key: str) -> dict[str, Any]:
    """Return the certificate as Envoy's SDS has it."""
    return {
        "@type": SECRET_TYPE,
        "name": name,
        "tls_certificate": {
            "certificate_chain": {"inline_string": chain},
            "private_key": {"inline_string": key},
        },
    }


def secret(name: str, held: Held) -> bytes:
    """Return the file with a certificate: Envoy's SDS, and when it was fetched."""
    fetched_at = held.fetched_at.isoformat()
    found = {"fetched_at": fetched_at, "resources": [resource(name, held.chain, held.key)]}
    return json.dumps(found).encode()


def read_secret(content: bytes) -> tuple[str, str, datetime | None]:
    """Return chain, key and when it was fetched from what :func:`secret` wrote.

    An agent before this one did not write the last.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is no such file.

    """
    said = json.loads(content)
    found = said["resources"][0]["tls_certificate"]
    at = said.get("fetched_at")
    chain, key = found["certificate_chain"]["inline_string"], found["private_key"]["inline_string"]
    return chain, key, None if at is None else datetime.fromisoformat(at)
