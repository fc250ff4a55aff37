"""``mesh vm`` on a real host under systemd: join, call, status, leave, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.vms.host import Bed, Finished, Host, discard, hosts, owned, run
from tests.waiting import until

DATA = "/srv/zone"
ADMIN = ("--admin-token-file", f"{DATA}/admin-token", "--bundle", f"{DATA}/bundle.pem")
WEB = ("--upstream", "api:9001", "--capture", "user:games")
CONSUL = (
    *("--consul", "http://127.0.0.1:18500"),
    *("--consul-token-file", f"{DATA}/registry-token"),
)
WATCHED = ("/etc", "/usr", "/opt", "/var/lib", "/root", "/home")
ALIVE = (
    "/etc/passwd-",  # the copies that the tools for users make
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/.pwd.lock",
    "/var/lib/systemd",
    "/var/lib/dbus",
)
"""What changes on any host by itself."""


@asynccontextmanager
async def host_with_a_zone(layers: list[Path]) -> AsyncIterator[tuple[Bed, Host]]:
    """Boot a host on which the mesh is installed and no more, with a zone and two applications."""
    async with hosts("vm", layers=layers) as bed:
        host = bed["vm"]
        await host.run("sh", "-c", "userdel mesh; rm -rf /etc/mesh /etc/systemd/system/mesh*")
        await host.run("systemctl", "daemon-reload")
        settings = {
            "data_dir": DATA,
            "embedded": {"listen": "127.0.0.1:18500"},
            "listen": {
                "api": zone_of(host),
                "xds": f"{host.address}:5679",
                "metrics": "127.0.0.1:5680",
            },
        }
        await host.write("/srv/zone.yaml", yaml.safe_dump(settings))
        await host.write("/srv/api/index.html", "the api\n")
        await start(host, "zone", "mesh", "zone", "--config", "/srv/zone.yaml")
        for name, port in (("api", "8081"), ("web", "8080")):
            serve = ("-m", "http.server", port, "--bind", "127.0.0.1", "--directory", "/srv/api")
            await start(host, f"app-{name}", "python3", *serve)
        ready = ("curl", "-fsS", "http://127.0.0.1:5680/ready")
        await until(lambda: succeeds(host, *ready), 60, what="the zone is ready")
        yield bed, host


def zone_of(host: Host) -> str:
    """Return where the API of the zone on ``host`` is."""
    return f"{host.address}:5678"


async def start(host: Host, name: str, *command: str) -> None:
    """Run a program as a unit of its own."""
    await host.run("systemd-run", "--quiet", f"--unit={name}", *command)


async def succeeds(host: Host, *command: str) -> bool:
    """Whether a command in the host does."""
    return (await host.finished(*command)).code == 0


async def mesh(host: Host, *words: str, text: str = "") -> Finished:
    """Run ``mesh`` in the host."""
    return await host.finished("mesh", *words, text=text, within=120)


async def token(host: Host, service: str) -> str:
    """Have the zone make a join token."""
    words = ("--service", service, "--zone", zone_of(host), *ADMIN, "-o", "json")
    said = await host.run("mesh", "token", "create", *words)
    return str(json.loads(said)["token"])


async def join(
    host: Host, service: str, port: int, *more: str, text: str = "", zone: str = ""
) -> Finished:
    """Run ``mesh vm join`` with what every join here has."""
    words = ("--service", service, "--port", str(port), "--zone-api", zone or zone_of(host))
    return await mesh(host, "vm", "join", *words, *more, text=text)


async def snapshot(host: Host) -> list[str]:
    """Return a line for everything that a host remembers: files, units, users, rules."""
    script = (
        f"find {' '.join(WATCHED)} -printf '%M %u %g %s %p %l\\n'; "
        "find /etc /opt/mesh/current/bin -type f -exec sha256sum {} +; "
        "systemctl list-unit-files --no-legend; "
        "systemctl list-units --all --plain --no-legend 'mesh*'; "
        "getent passwd; getent group; nft list ruleset"
    )
    told = await host.run("sh", "-c", script, within=120)
    lines = [" ".join(each.split()) for each in told.splitlines()]
    return [each for each in lines if not any(f" {alive}" in each for alive in ALIVE)]


def others_files(lines: list[str]) -> set[str]:
    """Leave out what the proxies that run write."""
    running = ("/var/lib/mesh/api/", "/var/lib/mesh/web/")
    return {each for each in lines if not any(state in each for state in running)}


async def registry(host: Host, path: str) -> Any:
    """Ask the zone's registry."""
    header = f"X-Consul-Token: {(host.root / DATA[1:] / 'registry-token').read_text().strip()}"
    url = f"http://127.0.0.1:18500/v1/catalog/{path}"
    return json.loads(await host.run("curl", "-fsS", "-H", header, url))


async def services(host: Host) -> set[str]:
    """Return the services that the zone's registry has."""
    return set(await registry(host, "services"))


async def instances(host: Host, service: str) -> dict[str, str]:
    """Return the instances of a service: id, and address."""
    found = await registry(host, f"service/{service}")
    return {each["ServiceID"]: each["ServiceAddress"] for each in found}


async def test_a_host_joins_calls_and_leaves_as_it_was(mesh_layers: list[Path]) -> None:
    async with host_with_a_zone(mesh_layers) as (_, host):
        before = await snapshot(host)
        registered = await services(host)

        api = await token(host, "api")
        planned = await join(host, "api", 8081, "--token-file", "-", "--dry-run", text=api)
        assert planned.code == 0, planned.errors
        assert "/etc/mesh/proxy-api.token (root:root 0600)" in planned.output
        assert "systemctl start --no-block mesh-proxy@api.service" in planned.output
        assert await snapshot(host) == before

        joined = await join(host, "api", 8081, "--token-file", "-", text=api)
        assert joined.code == 0, joined.errors
        assert "api is in the mesh as api-vm-" in joined.output
        web = await token(host, "web")
        upstream = ("--token-file", "-", *WEB, "-o", "json")
        joined = await join(host, "web", 8080, *upstream, text=web)
        assert joined.code == 0, joined.errors
        page = json.loads(joined.output)
        assert page["changed"]
        assert page["proxy"]["registration"]["registered"]
        for secret in (api, web):
            assert secret not in joined.output + joined.errors

        await host.run("mesh", "intention", "allow", "web", "api", *CONSUL)
        call = ("curl", "-fsS", "http://127.0.0.1:9001/")
        await until(lambda: succeeds(host, *call), 30, what="web calls api")
        assert await host.run(*call) == "the api\n"
        # A program that knows nothing of the mesh, run as the user who is captured.
        captured = ("runuser", "-u", "games", "--", "curl", "-fsS", "http://api.mesh/")
        await until(lambda: succeeds(host, *captured), 30, what="web calls api by its name")

        await is_well(host)
        await is_idempotent(host)
        await a_join_that_fails_leaves_nothing(host)

        left = await mesh(host, "vm", "leave", "--service", "web")
        assert left.code == 0, left.errors
        assert await succeeds(host, "systemctl", "is-active", "--quiet", "mesh-proxy@api")
        assert await services(host) == registered | {"api", "api-sidecar-proxy"}
        left = await mesh(host, "vm", "leave")
        assert left.code == 0, left.errors
        assert await services(host) == registered
        again = await mesh(host, "vm", "leave")
        assert again.code == 0, again.errors
        assert "nothing was changed" in again.output
        after = await snapshot(host)
        assert set(after) - set(before) == set()
        assert set(before) - set(after) == set()


async def is_well(host: Host) -> None:
    """Check what ``mesh vm status`` tells, to root and to others."""
    told = await mesh(host, "vm", "status", "-o", "json")
    assert told.code == 0, told.output + told.errors
    found = json.loads(told.output)
    assert found["well"]
    assert {each["service"] for each in found["services"]} == {"api", "web"}
    nobody = await host.finished("runuser", "-u", "nobody", "--", "mesh", "vm", "status")
    assert nobody.code == 0, nobody.output + nobody.errors
    assert "sudo mesh vm status" in nobody.errors
    await host.run("systemctl", "stop", "mesh-proxy@web")
    told = await mesh(host, "vm", "status")
    assert told.code == 1
    assert "web: its unit is inactive" in told.output
    await host.run("systemctl", "start", "mesh-proxy@web")


async def is_idempotent(host: Host) -> None:
    """Check that a second join changes nothing, and that other settings change those alone."""
    again = await join(host, "web", 8080, *WEB)
    assert again.code == 0, again.errors
    assert "nothing was changed" in again.output
    since = ("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "mesh-proxy@api")
    began = await host.run(*since)
    changed = await join(host, "web", 8080, *WEB, "--health", "http:/@2s")
    assert changed.code == 0, changed.errors
    assert "web is in the mesh as" in changed.output
    assert await host.run(*since) == began


async def a_join_that_fails_leaves_nothing(host: Host) -> None:
    """Check that a token that was used already ends in the zone's own words, and in nothing."""
    before = others_files(await snapshot(host))
    used = (host.root / "etc/mesh/proxy-api.token").read_text()
    failed = await join(host, "api2", 8082, "--token-file", "-", text=used)
    assert failed.code == 3, failed.errors
    assert "api2 did not join" in failed.errors
    assert "journalctl -u mesh-proxy@api2.service" in failed.errors
    assert "POST /v1/enrol was answered 403" in failed.errors
    assert others_files(await snapshot(host)) == before
    assert (await join(host, "api2", 8082)).code == 2


async def test_a_copied_machine_is_nobody_until_it_has_a_token_of_its_own(
    mesh_layers: list[Path],
) -> None:
    copied = owned("copied")
    try:
        async with host_with_a_zone(mesh_layers) as (bed, source):
            joined = await join(
                source, "api", 8081, "--token-file", "-", text=await token(source, "api")
            )
            assert joined.code == 0, joined.errors
            before = await instances(source, "api")
            await run("cp", "-a", str(source.directory / "upper"), str(copied))
            for key in (copied / "etc/ssh").glob("ssh_host_*"):
                key.unlink()  # each host of a bed is given its own
            copy = await bed.add("copy", layers=[*mesh_layers, copied])
            await it_is_refused(source, copy)
            await it_joins_by_itself(source, copy, before)
            await it_moves(bed, source, copy)
            left = await mesh(copy, "vm", "leave")
            assert left.code == 0, left.errors
            assert await instances(source, "api") == before
    finally:
        if copied.exists():
            discard(copied)


async def it_is_refused(source: Host, copy: Host) -> None:
    """Check that a copy with its source's disk uses nothing of it, and says so."""
    same = "etc/machine-id"
    assert (copy.root / same).read_text() == (source.root / same).read_text()
    journal = ("journalctl", "-u", "mesh-proxy@api", "--no-pager", "-o", "cat")

    async def refuses() -> bool:
        return "made on another machine than this one" in await copy.run(*journal)

    await until(refuses, 30, what="the copy refuses its source's state")
    assert "certificate received" not in await copy.run(*journal, "-b")
    told = await mesh(copy, "vm", "status")
    assert told.code == 1
    assert "its state is another machine's" in told.output
    failed = await join(copy, "api", 8081, zone=zone_of(source))
    assert failed.code == 2
    assert "mesh token create --service api" in failed.errors


async def it_joins_by_itself(source: Host, copy: Host, before: dict[str, str]) -> None:
    """Check that a token of its own makes the copy an instance of its own beside its source."""
    assert await instances(source, "api") == before
    serve = ("-m", "http.server", "8081", "--bind", "127.0.0.1")
    await start(copy, "app-api", "python3", *serve)
    own = await token(source, "api")
    joined = await join(copy, "api", 8081, "--token-file", "-", text=own, zone=zone_of(source))
    assert joined.code == 0, joined.errors
    both = await instances(source, "api")
    assert len(both) == 2
    assert set(both.values()) == {source.address, copy.address}
    assert before.items() <= both.items()
    assert (await mesh(copy, "vm", "status")).code == 0


async def it_moves(bed: Bed, source: Host, copy: Host) -> None:
    """Check that another hostname and address are the same instance elsewhere."""
    before = await instances(source, "api")
    elsewhere = str(bed.network[77])
    await copy.run("hostname", "renamed")
    # With the old address go its route, and any other address of the same network.
    await copy.run("ip", "addr", "del", f"{copy.address}/24", "dev", "eth0")
    await copy.run("ip", "addr", "add", f"{elsewhere}/24", "dev", "eth0")
    moved = {name: elsewhere if place == copy.address else place for name, place in before.items()}
    seen: list[dict[str, str]] = []

    async def follows() -> bool:
        seen.append(await instances(source, "api"))
        return seen[-1] == moved

    await until(follows, 40, what="the registration follows the address")
    assert all(set(each) == set(before) for each in seen)
    await copy.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "mesh-proxy@api")
    ready = ("curl", "-fsS", "http://127.0.0.1:15020/ready")
    await until(lambda: succeeds(copy, *ready), 30, what="the proxy is ready again")
    assert await instances(source, "api") == moved
