"""Whom workloads shall believe: the roots of their trust domain's zones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mesh.ca.builtin import builtin_issuer
from mesh.ca.bundle import from_pem
from mesh.ca.issuer import Issuer
from mesh.controlplane.trust import Trust
from mesh.model.identity import ZoneId
from mesh.model.zones import Zone
from mesh.world.snapshot import World


async def root_of(directory: Path, zone: str) -> Issuer:
    issuer = builtin_issuer(directory / zone, ZoneId("mesh.test", zone))
    await issuer.start()
    return issuer


async def test_the_roots_of_one_trust_domain_are_joined_and_no_others(tmp_path: Path) -> None:
    east, west, far = [await root_of(tmp_path, name) for name in ("east", "west", "far")]
    world = World("east", "mesh.test")
    trust = Trust(east, lambda: world)
    assert trust.bundle() is east.bundle()
    known = Zone("west", "mesh.test", west.bundle().pem)
    stranger = Zone("far", "other.test", far.bundle().pem)
    world = replace(world, zones={"west": known, "far": stranger})
    joined = trust.bundle()
    assert joined.roots == (*east.bundle().roots, *west.bundle().roots)
    # Tokens pin the root that signs here, and it stays the first.
    assert joined.fingerprint == east.bundle().fingerprint
    assert from_pem(joined.pem)[0] == east.bundle().roots[0]
    assert trust.bundle() is joined
    # One root for all is the same bundle.
    world = replace(world, zones={"west": replace(known, bundle=east.bundle().pem)})
    assert trust.bundle() is east.bundle()


async def test_roots_that_cannot_be_read_take_nobody_elses_away(tmp_path: Path) -> None:
    east, west = [await root_of(tmp_path, name) for name in ("east", "west")]
    zones = {
        "a-broken": Zone("a-broken", "mesh.test", "no certificate"),
        "west": Zone("west", "mesh.test", west.bundle().pem),
    }
    world = World("east", "mesh.test", zones=zones)
    joined = Trust(east, lambda: world).bundle()
    assert joined.roots == (*east.bundle().roots, *west.bundle().roots)
