"""The identity on disk: written so that Envoy and the agent always find a matching pair.

The SDS files are the truth (see :mod:`mesh.agent.identity`); the PEM files are copies for the
agent's own connections and for people.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from mesh.agent.identity import (
    Svid,
    bundle_secret,
    identity_secret,
    read_bundle_secret,
    read_identity_secret,
)
from mesh.agent.state import StateDir
from mesh.envoy import files

logger = logging.getLogger(__name__)

CHAIN: Final = "svid.pem"
KEY: Final = "svid.key"
BUNDLE: Final = "bundle.pem"
ABOUT: Final = "svid.json"
ENROLMENT_KEY: Final = "enrolment.key"

_UNREADABLE: Final = (ValueError, KeyError, TypeError, IndexError)


class IdentityFiles:
    """Reads and writes what one proxy is."""

    def __init__(self, state: StateDir) -> None:
        """Work in ``state``."""
        self._state = state

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The files of the certificate chain and its key."""
        return self._state.path / CHAIN, self._state.path / KEY

    def load(self) -> tuple[Svid, str] | None:
        """Return the identity and the trust bundle, with the copies mended; None if incomplete."""
        about, secret, bundle = (
            self._state.read(name) for name in (ABOUT, files.IDENTITY_SDS, files.BUNDLE_SDS)
        )
        if about is None or secret is None or bundle is None:
            return None
        try:
            svid = Svid.from_json(about)
            chain, key = read_identity_secret(secret)
            trusted = read_bundle_secret(bundle)
        except _UNREADABLE:
            logger.warning(
                "the stored identity cannot be read; enrolling again",
                extra={"state_dir": str(self._state.path)},
            )
            return None
        self._copy(CHAIN, chain)
        self._copy(KEY, key)
        self._copy(BUNDLE, trusted)
        return svid, trusted

    def mend(self) -> None:
        """Write again what a full disk kept :meth:`save` from writing.

        Raises:
            OSError: the disk is still full.

        """
        self.load()

    def save(self, svid: Svid, chain: str, key: str, bundle: str) -> None:
        """Replace the identity.

        The bundle goes first: a new certificate may stand under a root that only it has.
        """
        self.save_bundle(bundle)
        self._state.write(files.IDENTITY_SDS, identity_secret(chain, key))
        self._state.write(KEY, key)
        self._state.write(CHAIN, chain)
        self._state.write(ABOUT, svid.to_json())

    def save_bundle(self, bundle: str) -> None:
        """Replace the trust bundle."""
        self._state.write(files.BUNDLE_SDS, bundle_secret(bundle))
        self._state.write(BUNDLE, bundle)

    def enrolment_key(self) -> str | None:
        """Return the key that the join token is bound to."""
        content = self._state.read(ENROLMENT_KEY)
        return content.decode() if content else None

    def save_enrolment_key(self, key: str) -> None:
        """Keep the key for the life of the proxy."""
        self._state.write(ENROLMENT_KEY, key)

    def _copy(self, name: str, content: str) -> None:
        if self._state.read(name) != content.encode():
            self._state.write(name, content)
