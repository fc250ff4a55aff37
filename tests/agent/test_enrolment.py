"""Enrolment against a zone on real TLS: first certificate, renewal, expiry, and every refusal."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import stat
from datetime import timedelta

import pytest

from mesh.agent.enrolment import Enrolment
from mesh.agent.errors import (
    BundleMismatchError,
    ClockSkewError,
    ProofError,
    ZoneRefusedError,
    ZoneUnreachableError,
)
from mesh.agent.identity import read_bundle_secret, read_identity_secret
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.zone import ZoneClient
from mesh.aio.clock import ManualClock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.envoy import files
from tests.agent.fakezone import DOMAIN, TOKEN, TOKEN_ID, FakeZone
from tests.agent.pki import Authority
from tests.waiting import until

# Today: the fake zone checks client certificates by the machine's clock.
START = SystemClock().now()
SECRETS = (files.IDENTITY_SDS, "svid.key", "enrolment.key", "proof.json")


@pytest.fixture
def clock(zone: FakeZone) -> ManualClock:
    # The zone's own certificate is checked by the machine's clock, the workload's by this one.
    zone.now = START
    return ManualClock(START)


@pytest.fixture
def enrolment(settings: AgentSettings, state: StateDir, clock: ManualClock) -> Enrolment:
    return make(settings, state, clock)


def make(settings: AgentSettings, state: StateDir, clock: ManualClock) -> Enrolment:
    client = ZoneClient(settings.zone_api, timeout=2.0)
    return Enrolment(settings, state, client, clock, draw=lambda: 0.5)


async def test_a_token_becomes_an_identity(
    enrolment: Enrolment, state: StateDir, zone: FakeZone
) -> None:
    svid = await enrolment.ensure()
    assert svid.workload.uri == f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
    assert svid.xds == tuple(zone.xds)
    chain, key = read_identity_secret(state.read(files.IDENTITY_SDS) or b"")
    assert state.read("svid.pem") == chain.encode()
    assert state.read("svid.key") == key.encode()
    assert read_bundle_secret(state.read(files.BUNDLE_SDS) or b"") == zone.authority.root


async def test_every_file_is_the_owners_only(enrolment: Enrolment, state: StateDir) -> None:
    await enrolment.ensure()
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in state.path.iterdir()}
    assert set(SECRETS) <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


async def test_what_is_on_disk_needs_no_zone(
    settings: AgentSettings, state: StateDir, clock: ManualClock, zone: FakeZone
) -> None:
    first = await make(settings, state, clock).ensure()
    zone.asked.clear()
    assert await make(settings, state, clock).ensure() == first
    assert not zone.asked


async def test_the_identity_of_another_service_is_not_taken_up(
    settings: AgentSettings, state: StateDir, clock: ManualClock
) -> None:
    await make(settings, state, clock).ensure()
    other = make(dataclasses.replace(settings, service="api"), state, clock)
    assert other.load() is None


async def test_renewal_at_half_life_with_a_fresh_key(
    enrolment: Enrolment, state: StateDir, zone: FakeZone, clock: ManualClock
) -> None:
    first = await enrolment.ensure()
    async with Tasks("test") as tasks:
        tasks.spawn("keep", enrolment.keep_valid(), forever=True)
        await clock.sleeping()
        # Half of 24 hours, less half of the jitter of a tenth.
        await clock.advance(10.8 * 3600 - 60)
        assert enrolment.svid == first
        zone.now = clock.now()
        await clock.advance(120)
        await until(lambda: enrolment.svid != first)
    assert zone.asked == ["bundle", "enrol", "renew"]
    assert zone.token_ids == [TOKEN_ID]
    assert len(set(zone.keys)) == 2
    assert enrolment.svid is not None
    assert enrolment.svid.not_after > first.not_after
    _, key = read_identity_secret(state.read(files.IDENTITY_SDS) or b"")
    assert state.read("svid.key") == key.encode()


async def test_an_asked_for_renewal_waits_for_nothing(
    enrolment: Enrolment, zone: FakeZone, clock: ManualClock
) -> None:
    enrolment.renew_now()  # there is nothing to renew, and nothing is remembered
    first = await enrolment.ensure()
    async with Tasks("test") as tasks:
        tasks.spawn("keep", enrolment.keep_valid(), forever=True)
        await clock.sleeping()
        assert zone.asked == ["bundle", "enrol"]
        zone.renew_refusal = (503, "signing is not possible", "wait")
        enrolment.renew_now()
        await until(lambda: zone.asked == ["bundle", "enrol", "renew"])
        await clock.sleeping()
        zone.renew_refusal = None
        enrolment.renew_now()  # nor for the pause after a failure
        await until(lambda: enrolment.svid != first)
        await clock.sleeping()
    assert zone.asked == ["bundle", "enrol", "renew", "renew"]


async def test_a_renewal_that_fails_is_tried_again(
    enrolment: Enrolment, zone: FakeZone, clock: ManualClock
) -> None:
    first = await enrolment.ensure()
    zone.renew_refusal = (503, "signing is not possible", "wait")
    async with Tasks("test") as tasks:
        tasks.spawn("keep", enrolment.keep_valid(), forever=True)
        await clock.sleeping()
        await clock.advance(13 * 3600)
        await until(lambda: "renew" in zone.asked)
        assert enrolment.svid == first
        zone.renew_refusal = None
        zone.now = clock.now()
        async with asyncio.timeout(10):
            while enrolment.svid == first:
                await clock.advance(1)
                await asyncio.sleep(0.01)
    assert "enrol" not in zone.asked[2:]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "empty"])
async def test_an_expired_certificate_is_attested_with_the_stored_proof_and_the_same_key(
    settings: AgentSettings, state: StateDir, zone: FakeZone, clock: ManualClock, *, gone: bool
) -> None:
    await make(settings, state, clock).ensure()
    await clock.advance(30 * 24 * 3600)
    zone.now = clock.now()
    # A service manager hands over a credential that it lacks as an empty file.
    settings.proof_file.write_text("\n")
    if gone:
        settings.proof_file.unlink()
    later = make(settings, state, clock)
    await later.ensure()
    await later.refresh()
    assert zone.asked == ["bundle", "enrol", "enrol"]
    assert len(set(zone.keys)) == 1
    assert zone.proofs[0] == zone.proofs[1]
    assert later.svid is not None
    assert later.svid.valid(clock.now())


async def test_a_token_put_there_later_and_expired_does_not_keep_a_host_out(
    settings: AgentSettings, state: StateDir, zone: FakeZone, clock: ManualClock
) -> None:
    await make(settings, state, clock).ensure()
    await clock.advance(30 * 24 * 3600)
    zone.now = clock.now()
    kept = settings.proof_file.read_text()
    settings.proof_file.write_text(zone.join_token() + "b3RoZXI")
    zone.expired.add(settings.proof_file.read_text())
    later = make(settings, state, clock)
    await later.ensure()
    await later.refresh()
    assert zone.proofs[-1] == {"kind": "join-token", "token": kept}
    zone.expired.add(kept)
    with pytest.raises(ZoneRefusedError, match="expired"):
        await later.attest()


async def test_a_refused_renewal_leads_to_attestation(enrolment: Enrolment, zone: FakeZone) -> None:
    await enrolment.ensure()
    zone.renew_refusal = (403, "unknown certificate", "")
    await enrolment.refresh()
    assert zone.asked == ["bundle", "enrol", "renew", "enrol"]


async def test_another_zone_than_the_tokens_is_refused(
    settings: AgentSettings, enrolment: Enrolment, zone: FakeZone
) -> None:
    settings.proof_file.write_text(zone.join_token(pin="sha256:" + "0" * 64))
    with pytest.raises(BundleMismatchError, match="mesh ca bundle"):
        await enrolment.ensure()
    assert not zone.proofs


async def test_a_root_slipped_in_beside_the_pinned_one_is_not_trusted(
    settings: AgentSettings, state: StateDir, clock: ManualClock
) -> None:
    genuine = Authority(DOMAIN)
    pretender = FakeZone(now=START)
    pretender.bundle = genuine.root + pretender.authority.root
    async with pretender.serve():
        token = FakeZone(authority=genuine).join_token()
        settings.proof_file.write_text(token)
        enrolment = make(dataclasses.replace(settings, zone_api=(pretender.address,)), state, clock)
        with pytest.raises(BundleMismatchError):
            await enrolment.ensure()
    assert not pretender.proofs


async def test_a_refused_token_says_why_and_what_to_do(
    enrolment: Enrolment, zone: FakeZone
) -> None:
    zone.refusal = (403, "the join token expired", "create another with `mesh token create`")
    with pytest.raises(ZoneRefusedError, match="expired") as caught:
        await enrolment.ensure()
    assert "mesh token create" in caught.value.remedy


async def test_a_zone_that_is_not_there_yet_is_waited_for(
    settings: AgentSettings, state: StateDir, clock: ManualClock
) -> None:
    fake = FakeZone(now=START)
    async with fake.serve():
        port = fake.port
    settings.proof_file.write_text(fake.join_token())
    enrolment = make(dataclasses.replace(settings, zone_api=(fake.address,)), state, clock)
    with pytest.raises(ZoneUnreachableError, match="zone_api"):
        await enrolment.attest()
    async with Tasks("test") as tasks:
        waiting = tasks.spawn("ensure", enrolment.ensure())
        await clock.sleeping()
        async with fake.serve(port):
            await clock.advance(60)
            assert (await waiting).service == "web"


async def test_a_wrong_clock_is_named(enrolment: Enrolment, zone: FakeZone) -> None:
    zone.now = START + timedelta(hours=3)
    with pytest.raises(ClockSkewError, match="NTP"):
        await enrolment.ensure()
    assert enrolment.svid is None


async def test_a_missing_token_is_named(settings: AgentSettings, enrolment: Enrolment) -> None:
    settings.proof_file.write_text("\n")
    with pytest.raises(ProofError, match="is empty"):
        await enrolment.ensure()
    settings.proof_file.unlink()
    with pytest.raises(ProofError, match=str(settings.proof_file)):
        await enrolment.ensure()


async def test_a_consul_token_needs_a_bundle_and_is_not_kept(
    settings: AgentSettings, state: StateDir, clock: ManualClock, zone: FakeZone
) -> None:
    settings.proof_file.write_text(TOKEN)
    consul = dataclasses.replace(settings, proof_kind="consul-token")
    with pytest.raises(ProofError, match="bundle-file"):
        await make(consul, state, clock).ensure()
    bundle = settings.proof_file.with_name("bundle.pem")
    bundle.write_text(zone.authority.root)
    await make(dataclasses.replace(consul, bundle_file=bundle), state, clock).ensure()
    assert zone.proofs == [{"kind": "consul-token", "token": TOKEN}]
    renewing = make(dataclasses.replace(consul, bundle_file=bundle), state, clock)
    await renewing.ensure()
    await renewing.renew()
    assert zone.token_ids == [""]
    assert not any(TOKEN.encode() in each.read_bytes() for each in state.path.iterdir())


async def test_a_new_bundle_is_taken_from_a_zone_that_the_old_one_vouches_for(
    enrolment: Enrolment, state: StateDir, zone: FakeZone
) -> None:
    await enrolment.ensure()
    assert not await enrolment.refresh_bundle()
    zone.bundle = zone.authority.root + Authority(DOMAIN).root
    assert await enrolment.refresh_bundle()
    assert read_bundle_secret(state.read(files.BUNDLE_SDS) or b"") == zone.bundle
    assert state.read("bundle.pem") == zone.bundle.encode()


async def test_a_bundle_from_a_stranger_or_without_certificates_is_not_taken(
    settings: AgentSettings, state: StateDir, clock: ManualClock, zone: FakeZone
) -> None:
    enrolment = make(settings, state, clock)
    await enrolment.ensure()
    before = state.read(files.BUNDLE_SDS)
    zone.bundle = "nothing"
    with pytest.raises(BundleMismatchError):
        await enrolment.refresh_bundle()
    async with FakeZone().serve() as stranger:
        there = make(dataclasses.replace(settings, zone_api=(stranger.address,)), state, clock)
        there.load()
        with pytest.raises(BundleMismatchError):
            await there.refresh_bundle()
    assert state.read(files.BUNDLE_SDS) == before


async def test_copies_are_mended_from_the_sds_file(
    settings: AgentSettings, state: StateDir, clock: ManualClock
) -> None:
    await make(settings, state, clock).ensure()
    _, key = read_identity_secret(state.read(files.IDENTITY_SDS) or b"")
    state.write("svid.key", "of before")
    make(settings, state, clock).load()
    assert state.read("svid.key") == key.encode()


async def test_half_a_pair_on_disk_does_not_keep_the_next_renewal_from_succeeding(
    enrolment: Enrolment, state: StateDir, zone: FakeZone
) -> None:
    await enrolment.ensure()
    obstacle = state.path / ".svid.pem.new"
    obstacle.mkdir()
    with pytest.raises(OSError, match=r"svid\.pem"):
        await enrolment.refresh()
    obstacle.rmdir()
    await enrolment.refresh()
    assert zone.asked == ["bundle", "enrol", "renew", "renew"]
    chain, key = read_identity_secret(state.read(files.IDENTITY_SDS) or b"")
    assert (state.read("svid.pem"), state.read("svid.key")) == (chain.encode(), key.encode())


async def test_a_replica_whose_certificate_is_a_strangers_does_not_speak_for_the_others(
    settings: AgentSettings, state: StateDir, clock: ManualClock, zone: FakeZone
) -> None:
    await make(settings, state, clock).ensure()
    async with FakeZone(Authority(DOMAIN)).serve() as stranger:
        both = dataclasses.replace(settings, zone_api=(stranger.address, zone.address))
        enrolment = make(both, state, clock)
        enrolment.load()
        await enrolment.renew()
    assert not stranger.asked
    assert zone.asked[-1] == "renew"


async def test_a_damaged_identity_is_replaced(
    settings: AgentSettings, state: StateDir, clock: ManualClock, zone: FakeZone
) -> None:
    await make(settings, state, clock).ensure()
    state.write("svid.json", json.dumps({"zone": 1}))
    await make(settings, state, clock).ensure()
    assert zone.asked.count("enrol") == 2
