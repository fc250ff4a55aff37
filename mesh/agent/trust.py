"""Whom to believe at first: from pins or a configured bundle to a zone that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.agent.errors import AgentError, BundleMismatchError, ProofError
from mesh.agent.identity import Pins, pinned_root
from mesh.agent.zone import Trust, ZoneClient
from mesh.model import names
from mesh.model.identity import ZoneId


async def first_trust(zone: ZoneClient, pins: Pins, bundle_file: Path | None) -> Trust:
    """Ask whoever answers for names and roots, and believe as far as pin or bundle confirm.

    Raises:
        AgentError: there is neither, or what answers is not what they say.

    """
    configured = _configured(bundle_file)
    if configured is None and pins.fingerprint is None:
        raise ProofError(
            "nothing says which zone to trust: a Consul token names none",
            "Give the mesh's trust bundle with --bundle-file (`mesh ca bundle` prints it).",
        )
    said = await zone.published()
    bundle = configured or pinned_root(str(said.get("bundle")), pins.fingerprint or "")
    if bundle is None:
        raise BundleMismatchError(
            f"the trust bundle at zone_api is not the one that the join token names "
            f"({pins.fingerprint})",
            "Either zone_api is not the zone that made the token, or somebody stands between. "
            "Compare with `mesh ca bundle` in the zone.",
        )
    return checked(Trust(bundle, _zone_id(pins, said)))


def checked(trust: Trust) -> Trust:
    """Return ``trust`` if its bundle can be used at all; never let a bad one reach the disk.

    Raises:
        BundleMismatchError: it cannot.

    """
    try:
        trust.context()
    except OSError as error:
        raise BundleMismatchError(
            f"the trust bundle holds no usable certificate: {error}",
            "Look at it with `mesh ca bundle` in the zone, or at bundle_file.",
        ) from error
    return trust


def _configured(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProofError(
            f"the trust bundle {file} cannot be read: {error}",
            "Write it there with `mesh ca bundle`.",
        ) from error


def _zone_id(pins: Pins, said: dict[str, Any]) -> ZoneId:
    try:
        return ZoneId(
            pins.trust_domain or names.trust_domain(str(said.get("trust_domain"))),
            pins.zone or names.zone_name(str(said.get("zone"))),
        )
    except names.InvalidNameError as error:
        raise AgentError(
            f"the zone's name cannot be: {error}", "Is zone_api the address of `mesh zone`?"
        ) from error
