"""Clusters on a real Envoy: limits, ejection, probes, balancing and failover."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest
import pytest_asyncio

from mesh.agent.identity import bundle_secret, identity_secret
from mesh.envoy import files
from mesh.envoy.endpoint import prioritised
from mesh.model.destinations import (
    Balancing,
    Destination,
    Detectors,
    External,
    Host,
    Limits,
    LoadBalancing,
    Outlier,
    Probe,
    ProbeKind,
    Selection,
    Settings,
    Target,
)
from mesh.model.identity import WorkloadId
from mesh.model.services import Protocol
from mesh.model.traffic import Retry
from tests.envoy.estate import Estate, running
from tests.envoy.place import (
    DOMAIN,
    ZONE,
    App,
    Place,
    envoy,
    instances,
    of_destination,
    plain,
    table_listeners,
    target,
    to_each,
    with_endpoints,
)
from tests.waiting import until
from tests.xds.pki import Authority

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

IN_TURN: Final = LoadBalancing(Balancing.ROUND_ROBIN)
PROBE: Final = Probe(ProbeKind.HTTP, 0.03, 1.0, 1, 1, path="/health", expected=(200, 201))


def outlier(detectors: Detectors) -> Outlier:
    return Outlier(detectors, interval=0.03, base_ejection=0.4, max_ejection=0.4)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def meshed(name: str, *others: str, settings: Settings | None = None) -> Destination:
    return Destination(
        Selection(target(name)),
        Protocol.HTTP,
        settings or Settings(),
        failover=tuple(Selection(target(other)) for other in others),
    )


def mesh_clusters(apps: dict[str, App]) -> list[Any]:
    api, db = instances(apps["api"]), instances(apps["db"])
    failing = Settings(connect_timeout=0.5, outlier=outlier(Detectors(consecutive_5xx=1)))
    return [
        with_endpoints(meshed("api", "v2.db", settings=failing), [(api, "api"), (db, "v2.db")]),
        with_endpoints(meshed("api", "db"), [([], "api"), (db, "db")], name="empty-first"),
        with_endpoints(meshed("api"), [(db, "")], name="impostor"),
        with_endpoints(meshed("api", "db"), [(db, "api")], name="impostor-in-failover"),
    ]


def treated_clusters(apps: dict[str, App]) -> list[Any]:
    a, b, c, d = (apps[name] for name in "abcd")
    strict = Settings(balancing=IN_TURN, outlier=outlier(Detectors(consecutive_5xx=2)))
    lax = Settings(balancing=IN_TURN, outlier=outlier(Detectors()))
    near = with_endpoints(
        meshed("near", settings=Settings(probe=PROBE)), [(instances(c, d), "")], name="near"
    )
    near.load_assignment.CopyFrom(
        prioritised("near", [(instances(c, d), "")], near=lambda each: each.id == "d")
    )
    near.ClearField("transport_socket")
    return [
        plain("ejecting", a, b, settings=strict),
        plain("undetected", a, b, settings=lax),
        plain("probed", c, d, settings=Settings(balancing=IN_TURN, probe=PROBE)),
        near,
        plain("limited", a, settings=Settings(limits=Limits(requests=1))),
        plain("kept", a),
        plain("one-each", a, settings=Settings(limits=Limits(requests_per_connection=1))),
        plain("short-lived", a, settings=Settings(max_duration=0.03, idle_timeout=60.0)),
        plain("for-ever", a, settings=Settings(max_duration=0, idle_timeout=0)),
    ]


BALANCINGS: Final = (
    LoadBalancing(Balancing.ROUND_ROBIN, slow_start=30.0, slow_start_aggression=1.5),
    LoadBalancing(Balancing.LEAST_REQUEST, choices=3, slow_start=30.0, slow_start_aggression=1.5),
    LoadBalancing(Balancing.RANDOM),
    LoadBalancing(Balancing.RING_HASH, min_ring=128, max_ring=4096),
    LoadBalancing(Balancing.MAGLEV, table_size=251),
)


def full_clusters(apps: dict[str, App]) -> list[Any]:
    """Return clusters with every setting there is, of each protocol."""
    every = Detectors(5, 5, 5, 1.9, 3, 10, 85, 3, 10)
    limits = Limits(10, 10, 10, 2, 20.0, 3, 100)
    ejecting = Outlier(every, 1.0, 1.0, 2.0, 50, split_local=True)
    found = []
    for number, balancing in enumerate(BALANCINGS):
        settings = Settings(1.0, 60.0, 600.0, limits, ejecting, None, balancing)
        found.append(plain(f"balanced-{number}", apps["a"], apps["b"], settings=settings))
    for protocol in Protocol:
        for kind in ProbeKind:
            probe = Probe(kind, 60.0, 0.1, 1, 1, jitter_percent=10, reuse_connection=False)
            settings = Settings(1.0, 60.0, 600.0, limits, ejecting, probe, IN_TURN)
            external = External((Host("localhost", apps["a"].port),), tls=True)
            destination = Destination(
                Selection(Target(f"{protocol}-{kind}")), protocol, settings, external=external
            )
            found.append(of_destination(destination))
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def contexts(authority: Authority) -> dict[str, ssl.SSLContext]:
    issued = {
        name: authority.issue(name, [WorkloadId(DOMAIN, ZONE, name).uri]) for name in ("api", "db")
    }
    return {name: authority.server_context(files) for name, files in issued.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estate(contexts: dict[str, ssl.SSLContext]) -> AsyncIterator[Estate]:
    async with running("abcd", contexts) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    estate: Estate, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("envoy")
    us = authority.issue("web", [WorkloadId(DOMAIN, ZONE, "web").uri])
    (directory / files.IDENTITY_SDS).write_bytes(
        identity_secret(us.certificate.read_text(), us.key.read_text())
    )
    (directory / files.BUNDLE_SDS).write_bytes(bundle_secret(authority.bundle.read_text()))
    apps = estate.apps
    clusters = [*mesh_clusters(apps), *treated_clusters(apps), *full_clusters(apps)]
    tables = to_each(clusters)
    retry = Retry(5, ("connect-failure", "reset"), backoff_base=0.02)
    tables["api"] = [replace(route, retry=retry) for route in tables["api"]]
    async with envoy(directory, table_listeners(tables), clusters) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def apps(estate: Estate) -> AsyncIterator[dict[str, App]]:
    estate.forget()
    yield estate.apps
    for app in estate.apps.values():
        app.release()


async def test_failing_instance_is_left_out_and_comes_back(
    place: Place, apps: dict[str, App]
) -> None:
    apps["a"].status = 500
    await place.settles("ejecting", "b")

    apps["a"].status = 200
    await place.settles("ejecting", "a", "b")


async def test_detectors_that_are_off_leave_nobody_out(place: Place, apps: dict[str, App]) -> None:
    apps["a"].status = 500

    assert await place.count("undetected", 30) == {"a": 15, "b": 15}


async def test_probed_instance_is_left_out_and_comes_back(
    place: Place, apps: dict[str, App]
) -> None:
    apps["c"].status = 503
    await place.settles("probed", "d")

    apps["c"].status = 201
    await place.settles("probed", "c", "d")
    assert all(seen.path in {"/", "/health"} for seen in apps["c"].seen)


async def test_instances_are_probed_without_any_traffic(place: Place, apps: dict[str, App]) -> None:
    await until(lambda: len(apps["c"].seen) > 4)

    assert {seen.path for seen in apps["c"].seen} == {"/health"}


async def test_near_instances_come_first_while_they_are_well(
    place: Place, apps: dict[str, App]
) -> None:
    await place.settles("near", "d")

    apps["d"].status = 503
    await place.settles("near", "c")


async def test_requests_beyond_the_limit_are_refused(place: Place, apps: dict[str, App]) -> None:
    apps["a"].held = 1
    waiting = asyncio.create_task(place.ask("limited"))  # noqa: TID251 awaited below
    await until(lambda: bool(apps["a"].seen))

    refused = await place.ask("limited")
    apps["a"].release()

    assert (refused.status, "overflow" in refused.body) == (503, True)
    assert (await waiting).status == 200


@pytest.mark.parametrize(
    ("cluster", "connections"), [("kept", 1), ("for-ever", 1), ("one-each", 12)]
)
async def test_connections_serve_as_many_requests_as_they_may(
    place: Place, apps: dict[str, App], cluster: str, connections: int
) -> None:
    await place.count(cluster, 12)

    assert len({seen.connection for seen in apps["a"].seen}) == connections


async def test_connections_live_as_long_as_they_may(place: Place, apps: dict[str, App]) -> None:
    for _ in range(500):
        await place.ask("short-lived")
        if len({seen.connection for seen in apps["a"].seen}) > 1:
            return
    raise AssertionError("the connection never ended")


async def test_failover_dials_another_target_by_its_own_name_and_comes_back(
    place: Place,
    estate: Estate,
    apps: dict[str, App],
    contexts: dict[str, ssl.SSLContext],
) -> None:
    assert await place.count("api", 5) == {"api": 5}
    assert set(estate.server_names) == {f"api.default.{ZONE}.internal.{DOMAIN}"}

    await apps["api"].close()
    try:
        assert await place.count("api", 10) == {"db": 10}
        assert f"v2.db.default.{ZONE}.internal.{DOMAIN}" in estate.server_names
    finally:
        await apps["api"].start(contexts["api"])
    await place.settles("api", "api")


async def test_target_without_instances_fails_over(place: Place, apps: dict[str, App]) -> None:
    assert await place.count("empty-first", 5) == {"db": 5}


@pytest.mark.parametrize("cluster", ["impostor", "impostor-in-failover"])
async def test_nobody_else_may_answer_for_a_target(
    place: Place, estate: Estate, apps: dict[str, App], cluster: str
) -> None:
    assert (await place.ask(cluster)).status == 503
    assert set(estate.server_names) == {f"api.default.{ZONE}.internal.{DOMAIN}"}
    assert not apps["db"].seen


@pytest.mark.parametrize("number", range(len(BALANCINGS)))
async def test_every_load_balancer_works_with_all_its_settings(place: Place, number: int) -> None:
    found = await place.count(f"balanced-{number}", 10)

    assert sum(found.values()) == 10
    assert set(found) <= {"a", "b"}
