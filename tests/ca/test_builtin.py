"""The root on disk: whole, private, one for all processes; and what is signed below it."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mesh.aio.clock import ManualClock
from mesh.ca.builtin import ROOT_FILE, RootFileError, builtin_issuer
from mesh.ca.bundle import from_pem
from mesh.ca.issuer import IssuerError, IssuerUnavailableError
from mesh.ca.local import LocalIssuer
from mesh.model.identity import WorkloadId, ZoneId
from tests.ca.making import WEB, ZONE, check_leaf, checked, p256, uri
from tests.waiting import until

DAY = timedelta(hours=24)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "ca"


async def test_a_leaf_is_all_that_it_must_be(directory: Path) -> None:
    clock = ManualClock()
    issuer = builtin_issuer(directory, ZONE, clock=clock)
    await issuer.start()
    key = p256()
    issued = await issuer.sign(checked(WEB, key), DAY)
    check_leaf(issued, issuer, [uri(WEB.uri)])
    leaf, intermediate = from_pem(issued.chain_pem)
    assert leaf.public_key() == key.public_key()
    assert int(issued.serial, 16) == leaf.serial_number
    assert leaf.serial_number.bit_length() > 64
    assert issued.not_before == clock.now() - timedelta(seconds=30) or (
        issued.not_before == intermediate.not_valid_before_utc
    )
    assert issued.not_after == clock.now() + DAY
    constraints = intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.path_length == 0
    assert issuer.status().warnings == ()
    await issuer.close()
    with pytest.raises(IssuerUnavailableError):
        await issuer.sign(checked(), DAY)


async def test_a_life_longer_than_the_intermediates_is_capped(directory: Path) -> None:
    issuer = builtin_issuer(directory, ZONE, intermediate_ttl=timedelta(hours=2))
    await issuer.start()
    issued = await issuer.sign(checked(), DAY)
    assert issued.not_after == issuer.status().intermediate_not_after
    with pytest.raises(IssuerError, match="positive TTL"):
        await issuer.sign(checked(), timedelta())
    with pytest.raises(IssuerError, match=r"not of the trust domain mesh\.test"):
        await issuer.sign(checked(WorkloadId("other.test", "dc1", "web")), DAY)
    await issuer.close()


async def test_the_zone_has_its_own_identity_and_renews_it(directory: Path) -> None:
    clock = ManualClock()
    issuer = builtin_issuer(directory, ZONE, clock=clock)
    await issuer.start()
    first = await issuer.zone_identity()
    assert await issuer.zone_identity() is first
    names = [uri(ZONE.uri), x509.DNSName(ZONE.server_name)]
    found = from_pem(first.chain_pem)[0].extensions
    assert list(found.get_extension_for_class(x509.SubjectAlternativeName).value) == names
    assert "PRIVATE" not in repr(first)
    await clock.advance(DAY.total_seconds() / 2)
    assert (await issuer.zone_identity()).serial != first.serial
    await issuer.close()


async def test_the_intermediate_is_renewed_at_half_life(directory: Path) -> None:
    clock = ManualClock()
    issuer = builtin_issuer(directory, ZONE, clock=clock)
    await issuer.start()
    before = from_pem((await issuer.sign(checked(), DAY)).chain_pem)[1]
    await clock.sleeping()
    await clock.advance(timedelta(hours=36).total_seconds())
    await until(
        lambda: (
            (issuer.status().intermediate_not_after or clock.now()) > (before.not_valid_after_utc)
        )
    )
    after = from_pem((await issuer.sign(checked(), DAY)).chain_pem)[1]
    assert after.public_key() != before.public_key()
    await issuer.close()


async def _fingerprint(issuer: LocalIssuer) -> str:
    await issuer.start()
    fingerprint = issuer.bundle().fingerprint
    await issuer.close()
    return fingerprint


def _modes(directory: Path) -> dict[str, int]:
    found = {each.name: stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()}
    return {".": stat.S_IMODE(directory.stat().st_mode), **found}


async def test_the_root_survives_a_restart_and_is_private(directory: Path) -> None:
    first = await _fingerprint(builtin_issuer(directory, ZONE))
    assert await _fingerprint(builtin_issuer(directory, ZONE)) == first
    assert _modes(directory) == {".": 0o700, ROOT_FILE: 0o600}


RACER = """
import asyncio, sys
from pathlib import Path
from mesh.ca.builtin import builtin_issuer
from mesh.model.identity import ZoneId

async def main():
    issuer = builtin_issuer(Path(sys.argv[1]), ZoneId("mesh.test", "dc1"))
    print("ready", flush=True)
    sys.stdin.readline()
    await issuer.start()
    print(issuer.bundle().fingerprint, flush=True)
    await issuer.close()

asyncio.run(main())
"""


def test_two_processes_that_start_together_agree_on_one_root(directory: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=30)[0].strip() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert said[0].startswith("sha256:")
    assert said[0] == said[1]
    assert [each.name for each in directory.iterdir()] == [ROOT_FILE]


async def test_a_root_that_others_may_read_is_refused(directory: Path) -> None:
    await _fingerprint(builtin_issuer(directory, ZONE))
    (directory / ROOT_FILE).chmod(0o640)
    with pytest.raises(RootFileError, match=r"has mode 640.*chmod 600"):
        await builtin_issuer(directory, ZONE).start()


async def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    (directory).mkdir(0o755)
    with pytest.raises(RootFileError, match="chmod 700"):
        await builtin_issuer(directory, ZONE).start()


async def test_a_root_that_is_something_else_is_refused(directory: Path) -> None:
    await _fingerprint(builtin_issuer(directory, ZONE))
    with pytest.raises(RootFileError, match=r"not of spiffe://other\.test"):
        await builtin_issuer(directory, ZoneId("other.test", "dc1")).start()
    (directory / ROOT_FILE).write_text("garbage")
    with pytest.raises(RootFileError, match="restore it"):
        await builtin_issuer(directory, ZONE).start()


async def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RootFileError, match="may write"):
        await builtin_issuer(tmp_path / "file" / "ca", ZONE).start()


async def test_an_expiring_root_is_warned_of_and_an_expired_one_refused(directory: Path) -> None:
    clock = ManualClock()
    issuer = builtin_issuer(directory, ZONE, clock=clock)
    await issuer.start()
    await issuer.close()
    late = ManualClock(clock.now() + timedelta(days=3649))
    issuer = builtin_issuer(directory, ZONE, clock=late)
    await issuer.start()
    status = issuer.status()
    assert status.intermediate_not_after == status.roots[0].not_after
    assert any("rotate it" in warning for warning in status.warnings)
    assert any("lives only until" in warning for warning in status.warnings)
    await issuer.close()
    issuer = builtin_issuer(directory, ZONE, clock=ManualClock(late.now() + 2 * DAY))
    with pytest.raises(RootFileError, match="expired"):
        await issuer.start()
