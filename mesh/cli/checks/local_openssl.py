"""This host's OpenSSL can speak to a zone."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from mesh.cli.checks.model import Finding, failure, ok


class LocalOpenssl:
    """Looks at the OpenSSL that Python uses."""

    title = "OpenSSL"
    vital = False

    async def run(self) -> Sequence[Finding]:
        """Look for TLS 1.3."""
        if not ssl.HAS_TLSv1_3:
            remedy = "Use a Python built with OpenSSL 1.1.1 or newer."
            return [failure(f"{ssl.OPENSSL_VERSION} lacks TLS 1.3", remedy)]
        return [ok(f"{ssl.OPENSSL_VERSION}, with TLS 1.3")]
