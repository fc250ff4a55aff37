"""From bare hosts to a mesh and back, with the playbooks, on hosts under systemd.

The tests tell one story and stand in its order; each needs those before it.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.ansible import secrets, versions
from tests.ansible.estate import API_URL, MANAGEMENT, VAULT_ADMIN, Estate, Play
from tests.ansible.listing import Listing, difference, listing
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

_KEPT = (
    *("/etc/mesh", "/etc/mesh-consul.json", "/etc/estate-vault", "/etc/estate-consul.json"),
    *("/var/lib/mesh", "/var/lib/private/mesh-zone", "/var/lib/estate-consul"),
    *("/proc", "/sys", "/dev", "/run", "/opt", "/usr"),
)
"""Where tokens have to be, and what is no file of a host's own."""


@dataclass(frozen=True, slots=True)
class Meshed:
    """An estate in the mesh, and how it got there."""

    estate: Estate
    before: dict[str, Listing]
    play: Play
    seconds: float
    seen: set[str]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def before(bare: Estate) -> dict[str, Listing]:
    """What the hosts are before ansible has been there."""
    return {each.name: await listing(each) for each in bare.bed}


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def meshed(bare: Estate, before: dict[str, Listing]) -> Meshed:
    """The estate after the first play."""
    began = time.monotonic()
    async with secrets.command_lines(_pattern(bare)) as seen:
        # As where systemd is newer than here, which leaves out what it does not know.
        play = await bare.played("mesh-vms", "-vvv", extra={"install_backs_off": True})
    await bare.allow("web", "api")
    await until(lambda: _answers(bare), what="a call from web to api")
    return Meshed(bare, before, play, time.monotonic() - began, seen)


async def test_bad_input_is_refused_before_anything_is_touched(
    bare: Estate, before: dict[str, Listing]
) -> None:
    services = [
        {"name": "web", "port": 8080, "upstreams": ["api:9001"]},
        {"name": "shop", "port": 8080, "upstreams": ["api:9001", "nonsense"]},
    ]
    play = await bare.play("mesh-vms", "--limit", "web,zone", extra={"mesh_services": services})
    assert play.failed == {"web", "zone"}
    for said in (
        "port 8080 is wanted by the application of web and by the application of shop",
        "port 9001 is wanted by the upstream api of web and by the upstream api of shop",
        "'nonsense' is no upstream",
    ):
        assert said in play.output
    unknown = await bare.play("mesh-vms", extra={"mesh_services": [{"name": "web", "prot": 1}]})
    assert "mesh_services.prot" in unknown.output
    assert unknown.failed == {"web", "api", "zone"}
    assert await _touched(bare, before) == []


async def test_a_check_of_bare_hosts_touches_nothing_and_tells_what_would_be(
    bare: Estate, before: dict[str, Listing]
) -> None:
    play = await bare.played("mesh-vms", "--check")
    assert min(play.changed.values()) > 5
    for told in (
        "A join token for api would be minted",
        "A Consul token for web would be minted",
        "mesh-proxy@web.service would be started",
        "mesh-zone.service would be started",
    ):
        assert told in play.output
    assert await _touched(bare, before) == []


async def test_one_play_leads_from_bare_hosts_to_a_meshed_call(meshed: Meshed) -> None:
    answer = await meshed.estate.calls()
    assert answer.output == "hello from api\n"
    for each in meshed.estate.bed:
        assert (each.root / "etc/systemd/system/mesh-.service.d/backoff.conf").exists()
    print(f"\nfrom bare hosts to a meshed call: {meshed.seconds:.0f} s")  # noqa: T201 - for the log


async def test_a_host_is_dialled_where_it_says(meshed: Meshed) -> None:
    api = meshed.estate.api
    settings = yaml.safe_load((api.root / "etc/mesh/proxy-api.yaml").read_text())
    assert settings["advertise_address"] == api.address


async def test_a_program_that_knows_nothing_of_the_mesh_calls_by_name(meshed: Meshed) -> None:
    web = meshed.estate.web
    curl = ("curl", "-sS", "--fail-with-body", "--max-time", "5", "http://api.mesh/")

    async def answers() -> bool:
        return (await web.finished("runuser", "-u", "nobody", "--", *curl)).code == 0

    await until(answers, what="a captured call")
    assert (await web.finished(*curl)).code != 0


async def test_a_second_play_changes_nothing(meshed: Meshed) -> None:
    play = await meshed.estate.played("mesh-vms")
    assert play.changed == {"web": 0, "api": 0, "zone": 0}


async def test_tokens_that_are_minted_anew_reach_the_proxies(meshed: Meshed) -> None:
    estate = meshed.estate
    handed = (
        (estate.web, "/run/credentials/mesh-proxy@web.service/consul-token"),
        (estate.api, "/run/credentials/mesh-proxy@api.service/join-token"),
    )
    before = [await each.run("cat", path) for each, path in handed]
    await estate.played("mesh-vms", extra={"mesh_reissue": True})
    after = [await each.run("cat", path) for each, path in handed]
    for old, new in zip(before, after, strict=True):
        assert new.strip()
        assert new != old
    assert after[0] == (estate.web.root / "etc/mesh/proxy-web.consul-token").read_text()
    await until(lambda: _answers(estate), what="a call with the new tokens")


async def test_no_token_is_seen(meshed: Meshed) -> None:
    looked_for = _pattern(meshed.estate)
    assert secrets.found(looked_for, meshed.play.output) == []
    assert meshed.seen == set()
    for each in meshed.estate.bed:
        journal = await each.run("journalctl", "--no-pager", "--output=cat")
        assert secrets.found(looked_for, journal) == []
        kept = {f"{each.root}{path}" for path in _KEPT}
        assert list(secrets.files(looked_for, each.root, kept)) == []


async def test_tokens_at_rest_are_roots_or_their_users_only(meshed: Meshed) -> None:
    for each in meshed.estate.bed:
        tokens = ("-name", "*token*", "-o", "-name", "*-id", "-o", "-name", "*.json")
        places = ("/etc/mesh", "/etc/mesh-consul.json", "/var/lib/mesh", "/var/lib/private")
        found = await each.finished(
            "find", *places, "-type", "f", "(", *tokens, ")", "-perm", "/77"
        )
        assert found.output == ""
    # The join token has served: the copy that is bound to the proxy's key is the only one.
    api = meshed.estate.api.root
    assert (api / "var/lib/mesh/api/proof.json").exists()
    assert not (api / "etc/mesh/proxy-api.token").exists()


async def test_traffic_is_back_after_a_reboot_with_no_hand(meshed: Meshed) -> None:
    for each in (meshed.estate.api, meshed.estate.web):
        await each.reboot()
    await until(lambda: _answers(meshed.estate), within=60, what="a call after the reboots")


async def test_an_upgrade_costs_no_call(meshed: Meshed) -> None:
    estate = meshed.estate
    async with _load(estate) as counts:
        play = await estate.played("upgrade", extra={"mesh_version": versions.NEWER})
    _no_call_was_lost(counts)
    assert min(play.changed.values()) > 0
    for each in estate.bed:
        assert versions.NEWER in await each.run("mesh", "version")
        assert (each.root / "opt/mesh/current").readlink().name == versions.NEWER
    for each in (estate.web, estate.api):
        running = await each.run("pgrep", "--full", "--list-full", "mesh.agent|envoy")
        assert f"/opt/mesh/{versions.NEWER}/bin/python -m mesh.agent" in running


async def test_a_host_that_does_not_become_ready_goes_back_and_stops_the_rest(
    meshed: Meshed,
) -> None:
    estate = meshed.estate
    wanted: dict[str, Any] = {"mesh_version": versions.BROKEN, "mesh_ready_within": 6}
    async with _load(estate) as counts:
        play = await estate.play("upgrade", "--limit", "web,api", extra=wanted)
    _no_call_was_lost(counts)
    (failed,) = play.failed
    assert f"{failed} did not become ready with mesh {versions.BROKEN} and runs" in play.output
    for each in (estate.web, estate.api):
        assert (each.root / "opt/mesh/current").readlink().name == versions.NEWER


async def test_the_root_is_rotated_and_no_call_is_lost(meshed: Meshed) -> None:
    estate = meshed.estate
    old = await _roots(estate)
    async with _load(estate) as counts:
        await estate.played("rotate-ca", extra={"mesh_rotation_pause": 0})
        both = await _roots(estate)
        await estate.played("rotate-ca", extra={"mesh_rotation": "finish"})
    _no_call_was_lost(counts)
    new = await _roots(estate)
    assert len(old) == len(new) == 1
    assert old != new
    assert both == old | new


async def test_unmesh_leaves_the_hosts_as_they_were(meshed: Meshed) -> None:
    estate = meshed.estate
    began = int(time.time())
    play = await estate.played("unmesh-vms", "-vvv")
    assert secrets.found(_pattern(estate), play.output) == []
    assert await _touched(estate, meshed.before) == []
    assert await estate.registered() == {"consul"}
    assert await estate.minted() == set()
    journal = await estate.web.run("journalctl", "--unit=mesh-proxy@web", f"--since=@{began}")
    assert "draining" in journal
    assert "drain step failed" not in journal
    assert "mesh" not in await estate.web.run("getent", "passwd")


async def test_a_host_leaves_when_the_zone_is_gone_already(meshed: Meshed) -> None:
    estate = meshed.estate
    claims = b64encode(json.dumps({"jti": "1"}).encode()).decode()
    proof = {"kind": "join-token", "token": f"e30.{claims}.e30"}
    await estate.api.write("/etc/mesh/proxy-api.yaml", "service: api\n")
    await estate.api.write("/var/lib/mesh/api/proof.json", json.dumps(proof))
    await estate.played("unmesh-vms", "--limit", "api")
    assert await _touched(estate, meshed.before) == []


def _pattern(estate: Estate) -> Any:
    tokens = [MANAGEMENT, VAULT_ADMIN, str(estate.variables["mesh_consul_token"])]
    return secrets.pattern([*tokens, str(estate.hosts["web"]["mesh_consul_agent"]["token"])])


async def _answers(estate: Estate) -> bool:
    return (await estate.calls()).code == 0


async def _touched(estate: Estate, before: dict[str, Listing]) -> list[str]:
    return [
        f"{each.name}: {found}"
        for each in estate.bed
        for found in difference(before[each.name], await listing(each))
    ]


async def _roots(estate: Estate) -> set[str]:
    said = await estate.zone.run(
        *("mesh", "ca", "status", "--output", "json"),
        *("--admin-token-file", "/var/lib/mesh-zone/admin-token"),
        *("--bundle", "/var/lib/mesh-zone/bundle.pem"),
    )
    return {each["fingerprint"] for each in json.loads(said)["roots"]}


@asynccontextmanager
async def _load(estate: Estate) -> AsyncIterator[dict[str, dict[str, int]]]:
    """Have clients on ``web`` call ``api`` all the time; yield what they counted, at the end."""
    script = Path(__file__).with_name("load.py").read_text()
    await estate.web.write("/run/load.py", script)
    clients = await asyncio.create_subprocess_exec(
        *(*estate.web.ssh, "python3", "/run/load.py", API_URL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert clients.stdout is not None
    assert await clients.stdout.readline() == b"calling\n"
    counts: dict[str, dict[str, int]] = {}
    try:
        yield counts
    finally:
        output, _ = await clients.communicate(b"\n")
    counts.update(json.loads(output))
    print(f"\nwhat the clients counted: {counts}")  # noqa: T201 - for the log


def _no_call_was_lost(counts: dict[str, dict[str, int]]) -> None:
    assert counts["retrying"]["calls"] > 100
    assert counts["retrying"]["failed"] == 0
    # What was under way when a connection ended, and nothing else: one call for each host.
    assert counts["keep_alive"]["failed"] <= 2
