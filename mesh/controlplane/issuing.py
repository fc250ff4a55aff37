"""Which issuer the settings ask for, and its bundle for people on this host."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.ca.builtin import builtin_issuer
from mesh.ca.issuer import Issuer
from mesh.ca.vault import vault_issuer
from mesh.ca.vault_sign import VaultSignIssuer
from mesh.clients.vault import AppRole, AuthMethod, TokenFile, VaultClient
from mesh.clients.vault import VaultSettings as VaultAddress
from mesh.config.zone import VaultSettings, ZoneSettings
from mesh.model.identity import ZoneId

_LOOK_EVERY: Final = 30.0
"""Seconds between two looks at the bundle."""

logger = logging.getLogger(__name__)


def issuer_for(settings: ZoneSettings, zone: ZoneId, clock: Clock) -> Issuer:
    """Make the issuer of the settings' mode; it is not started."""
    ca = settings.ca
    if ca.vault is None:
        return builtin_issuer(
            settings.data_dir / "ca", zone, intermediate_ttl=ca.intermediate_ttl, clock=clock
        )
    client = VaultClient(_vault_address(ca.vault), _login(ca.vault), clock=clock)
    if ca.mode == "vault":
        return vault_issuer(
            client, zone, mount=ca.vault.mount, intermediate_ttl=ca.intermediate_ttl, clock=clock
        )
    return VaultSignIssuer(
        client, zone, mount=ca.vault.mount, workload_role=ca.vault.role, clock=clock
    )


async def keep_bundle(issuer: Issuer, file: Path, clock: Clock) -> NoReturn:
    """Write the trust bundle to ``file``, now and whenever it changes, until cancelled."""
    written = ""
    while True:
        bundle = issuer.bundle()
        if bundle.pem != written:
            try:
                _replace(file, bundle.pem)
            except OSError as error:
                # A convenience for people; the zone serves on with a full disk.
                facts = {"file": str(file), "reason": str(error)}
                logger.warning("trust bundle not written", extra=facts)
            else:
                written = bundle.pem
                logger.info("trust bundle", extra={"fingerprint": bundle.fingerprint})
        await clock.sleep(_LOOK_EVERY)


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def _vault_address(settings: VaultSettings) -> VaultAddress:
    return VaultAddress(
        address=settings.address, ca_file=settings.ca_file, namespace=settings.namespace
    )


def _login(settings: VaultSettings) -> AuthMethod:
    auth = settings.auth
    if auth.approle is not None:
        return AppRole(
            secret_id_file=auth.approle.secret_id_file, role_id_file=auth.approle.role_id_file
        )
    if auth.token_file is not None:
        return TokenFile(auth.token_file)
    raise AssertionError  # the settings demand exactly one
