"""Why the zone should believe us: a token, its pins, and the copy kept for the day it is needed.

A join token is bound to the first key that used it, so a copy beside that key is worth nothing to
anybody else; it is kept, since the file it came from is often gone (or on a medium that is) when
an expired certificate must be replaced.  A Consul token is a general credential: it is read from
its own file each time and kept nowhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from mesh.agent.errors import ProofError
from mesh.agent.identity import Pins, pins_of_join_token, token_id
from mesh.agent.state import StateDir

STORED: Final = "proof.json"
JOIN_TOKEN: Final = "join-token"


class Proof:
    """The token that ``file`` holds, or held when it was last used."""

    def __init__(self, kind: str, file: Path, state: StateDir) -> None:
        """``kind`` is the API's: ``join-token`` or ``consul-token``."""
        self._kind = kind
        self._file = file
        self._state = state

    def read(self) -> dict[str, str]:
        """Return the proof as the zone's API takes it.

        Raises:
            ProofError: there is no token.

        """
        stored = self._stored()
        try:
            token = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            if stored is not None:
                return stored
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ProofError(
                f"the {self._kind.replace('-', ' ')} in {self._file} cannot be read: {reason}",
                "Put the token there, readable by this user.",
            ) from error
        if not token:
            # A credential that the service manager lacks arrives as an empty file.
            if stored is not None:
                return stored
            raise ProofError(
                f"{self._file} is empty", f"Put the {self._kind.replace('-', ' ')} there."
            )
        return {"kind": self._kind, "token": token}

    def all(self) -> tuple[dict[str, str], ...]:
        """Return every proof there is, the file's first.

        The file may have been replaced since by a token that let nobody in before it expired; the
        one that was kept, bound to our key, still does.

        Raises:
            ProofError: there is none.

        """
        first, stored = self.read(), self._stored()
        return (first,) if stored is None or stored == first else (first, stored)

    def pins(self) -> Pins:
        """Return what the token says of the zone that made it."""
        if self._kind != JOIN_TOKEN:
            return Pins()
        return pins_of_join_token(self.read()["token"])

    def token_id(self) -> str:
        """Return the id of the join token that the zone accepted; empty if it was none."""
        stored = self._stored()
        return token_id(stored["token"]) if stored is not None else ""

    def keep(self, proof: dict[str, str]) -> None:
        """Remember a proof that the zone accepted."""
        if proof["kind"] == JOIN_TOKEN and proof != self._stored():
            self._state.write(STORED, json.dumps(proof))

    def _stored(self) -> dict[str, str] | None:
        content = self._state.read(STORED)
        if content is None or self._kind != JOIN_TOKEN:
            return None
        try:
            kept = json.loads(content)
            return {"kind": str(kept["kind"]), "token": str(kept["token"])}
        except (ValueError, KeyError, TypeError):
            return None
