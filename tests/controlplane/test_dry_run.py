"""The dry run: what would change, for whom, and what a real Envoy would refuse of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.config.envoy_binary import installed
from mesh.controlplane.api.dryrun_model import DryRunAnswer, DryRunRequest, PolicyName
from mesh.controlplane.dryrun import envoy
from mesh.controlplane.dryrun.batches import batches
from mesh.controlplane.dryrun.calls import Reach, words
from mesh.controlplane.dryrun.difference import difference, renewed
from mesh.controlplane.dryrun.forecast import Proxy, forecast
from mesh.controlplane.dryrun.runs import DryRuns
from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Resource
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.policies.document import Document, parse
from mesh.policies.registry import KINDS
from mesh.world.changes import IntentionsChanged
from mesh.world.snapshot import World
from tests.controlplane.zones import ADMIN_TOKEN, ApiServer

ROUTE_TO = """
type: MeshHTTPRoute
name: new
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /%s}}]
          default: {backendRefs: [{kind: MeshService, name: %s}]}
"""
SLOW = """
type: MeshTimeout
name: slow
spec:
  targetRef: {kind: Dataplane, labels: {service: web}}
  to:
    - targetRef: {kind: MeshService, name: api}
      default: {connectionTimeout: 3s}
"""
OUTSIDE = """
type: MeshExternalService
name: extra
spec:
  match: {protocol: http}
  endpoints: [{address: extra.example.com, port: 443}]
  tls: {}
"""
PATCH = """
type: MeshProxyPatch
name: patch
spec:
  default:
    appendModifications:
      - cluster:
          operation: Patch
          match: {name: api}
          jsonPatches: [{op: replace, path: %s, value: %s}]
"""


def some(*names: str) -> frozenset[str]:
    return frozenset(names)


def instance(service: str) -> Instance:
    return Instance(f"{service}-1-sidecar-proxy", "n1", "127.0.0.1", 20000)


def document(text: str) -> Document:
    return parse(yaml.safe_load(text), KINDS)


def raw(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.fixture
def world() -> World:
    """``web`` and ``admin`` may call ``api`` and ``extra``, but not ``spare``."""
    allowed = [
        Intention(caller, service, Action.ALLOW)
        for caller in ("web", "admin")
        for service in ("api", "extra")
    ]
    names = ("api", "extra", "spare")
    defaults = {name: ServiceDefaults(name, Protocol.HTTP) for name in names}
    return World(
        "dc1",
        "mesh.test",
        instances={name: (instance(name),) for name in ("api", "web", "admin")},
        intentions=IntentionsChanged.of(allowed).by_destination,
        entries=Entries(service_defaults=defaults),
    )


@pytest.fixture
def proxies() -> list[Proxy]:
    def need(service: str, *upstreams: Upstream) -> ProxyNeed:
        inbound = Inbound("127.0.0.1", 20000, "127.0.0.1", 8080)
        return ProxyNeed(service, "dc1", inbound, upstreams, id=f"{service}-1")

    return [
        Proxy("web/web-1", need("web", Upstream("api", 9001))),
        Proxy("admin/admin-1", need("admin", Upstream("api", 9002))),
        Proxy("api/api-1", need("api")),
    ]


@pytest.fixture
def office(world: World, proxies: list[Proxy]) -> DryRuns:
    return DryRuns(lambda: world, lambda: proxies, installed)


async def ask(office: DryRuns, *texts: str) -> DryRunAnswer:
    return await office.run(DryRunRequest(apply=[raw(text) for text in texts]))


def test_what_differs_between_two_snapshots_is_told_by_name() -> None:
    def cluster(name: str, version: str) -> Resource:
        return Resource(CLUSTER, name, version, b"")

    before = {CLUSTER: (cluster("a", "1"), cluster("b", "1"), cluster("c", "1")), ROUTE: ()}
    after = {CLUSTER: (cluster("a", "1"), cluster("b", "2"), cluster("d", "1")), ROUTE: ()}
    (found,) = difference(before, after)
    assert (found.type_url, found.added, found.changed, found.removed) == (
        CLUSTER,
        ("d",),
        ("b",),
        ("c",),
    )
    assert [one.name for one in renewed(before, after)] == ["b", "d"]
    assert difference(after, after) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Reach(), Reach(), ()),
        (Reach(some("a")), Reach(some("a", "b")), ("targets",)),
        (Reach(some("a")), Reach(some("a"), some("b")), ("refused",)),
        (Reach(some("a")), Reach(refused=some("b")), ("refused", "targets")),
        (Reach(refused=some("b")), Reach(some("a")), ("allowed", "targets")),
        (Reach(refused=some("b")), Reach(refused=some("c")), ()),
        (Reach(some("a"), some("b")), Reach(some("a", "b")), ("allowed", "targets")),
        (Reach(some("a")), Reach(some("a"), answers=some("answer 503")), ("answers",)),
        (
            Reach(some("a"), otherwise={"a": 100}),
            Reach(some("a"), otherwise={"a": 50}),
            ("shares",),
        ),
        (Reach(some("a")), Reach(fault="no"), ("unroutable", "targets")),
        (Reach(fault="no"), Reach(some("a")), ("routable", "targets")),
    ],
)
def test_calls_are_compared_in_words(
    before: Reach, after: Reach, expected: tuple[str, ...]
) -> None:
    assert words(before, after) == expected


async def test_only_those_whom_a_policy_concerns_change(office: DryRuns) -> None:
    answer = await ask(office, SLOW)
    (proxy,) = answer.proxies
    assert (answer.connected, proxy.id, proxy.service) == (3, "web/web-1", "web")
    (cluster,) = proxy.resources
    assert (cluster.type, cluster.changed, cluster.added) == (CLUSTER, ["api"], [])
    assert (answer.calls, answer.rejected, answer.violations) == ([], [], [])
    assert (answer.envoy.checked, answer.envoy.unchecked, answer.envoy.note) == (1, 0, "")


async def test_a_new_target_that_nobody_needed_brings_its_resources(office: DryRuns) -> None:
    answer = await ask(office, ROUTE_TO % ("new", "extra"))
    assert [each.id for each in answer.proxies] == ["web/web-1", "admin/admin-1"]
    found = {each.type: each for each in answer.proxies[0].resources}
    assert found[CLUSTER].added == found[ENDPOINTS].added == ["extra"]
    assert found[ROUTE].changed == ["api"]
    assert [(each.caller, each.change) for each in answer.calls] == [
        ("admin", ["targets"]),
        ("web", ["targets"]),
    ]
    assert answer.envoy.unchecked == 0


async def test_a_target_without_an_intention_is_a_call_refused(office: DryRuns) -> None:
    answer = await ask(office, ROUTE_TO % ("", "spare"))
    call = answer.calls[0]
    assert call.change == ["refused"]
    assert (call.after.targets, call.after.refused) == (["api"], ["spare"])


async def test_what_stands_can_be_deleted(world: World, proxies: list[Proxy]) -> None:
    standing = document(SLOW)
    office = DryRuns(
        lambda: replace(world, policies={standing.key: standing}), lambda: proxies, installed
    )
    gone = PolicyName(type="MeshTimeout", name="slow")
    answer = await office.run(DryRunRequest(delete=[gone]))
    assert [each.id for each in answer.proxies] == ["web/web-1"]
    assert (await ask(office, SLOW)).proxies == []


async def test_every_violation_is_told_and_then_nothing_else_is_looked_at(
    office: DryRuns,
) -> None:
    bad = SLOW.replace("3s", "soon, odd: 1")
    answer = await ask(office, bad, ROUTE_TO % ("x", "extra"), "{type: Wish, name: x}")
    assert {(each.document, each.path) for each in answer.violations} == {
        ("MeshTimeout slow", "spec.to[0].default.connectionTimeout"),
        ("MeshTimeout slow", "spec.to[0].default.odd"),
        ("Wish x", "type"),
    }
    assert answer.proxies == []
    together = await ask(office, SLOW.replace("{kind: MeshService, name: api}", MISSING))
    assert "there is no MeshHTTPRoute gone" in together.violations[0].message


MISSING = "{kind: MeshHTTPRoute, name: gone}"


async def test_envoy_names_the_resource_that_it_would_refuse(office: DryRuns) -> None:
    answer = await ask(office, PATCH % ("/connectTimeout", "-1s"), ROUTE_TO % ("n", "extra"))
    found = [(one.name, each.proxy) for each in answer.rejected for one in each.resources]
    # Both proxies would be sent the same cluster: it is asked about once.
    assert found == [("api", "web/web-1")]
    assert "duration" in answer.rejected[0].reason.lower()


async def test_a_patch_that_does_not_fit_is_told_as_well(office: DryRuns) -> None:
    answer = await ask(office, PATCH % ("/nothing/here", "1"))
    assert answer.proxies == []
    assert answer.rejected[0].resources == []
    assert answer.rejected[0].reason.startswith("Cluster 'api': MeshProxyPatch patch: ")


async def test_a_service_verified_by_the_system_is_no_reason_to_refuse(office: DryRuns) -> None:
    answer = await ask(office, OUTSIDE, ROUTE_TO % ("new", "extra"))
    assert answer.rejected == []
    (change,) = [one for one in answer.proxies[0].resources if one.type.endswith("Cluster")]
    assert change.added == ["extra"]
    assert (answer.envoy.unchecked, answer.violations) == (0, [])


async def test_without_an_envoy_nothing_is_checked(world: World, proxies: list[Proxy]) -> None:
    office = DryRuns(lambda: world, lambda: proxies, lambda: None)
    answer = await ask(office, SLOW)
    assert (answer.envoy.unchecked, answer.envoy.note) == (1, "not checked: no envoy here")
    assert len(answer.proxies) == 1


async def test_an_envoy_is_asked_about_every_kind_of_resource(
    world: World, proxies: list[Proxy]
) -> None:
    """What the zone sends anyway is taken, all of it at once."""
    from_nothing = [
        replace(each, before={}) for each in forecast_of(world, proxies, ROUTE_TO % ("n", "extra"))
    ]
    asked = batches(from_nothing)
    kinds = {one.type_url for batch in asked for piece in batch.pieces for one in piece.resources}
    assert {CLUSTER, ENDPOINTS, LISTENER, ROUTE} <= kinds
    verdict = await envoy.ask(installed(), asked)
    assert verdict.refused == ()
    assert verdict.checked == sum(batch.count for batch in asked) > 10


async def test_an_envoy_is_asked_only_so_often(
    world: World, proxies: list[Proxy], tmp_path: Path
) -> None:
    changed = forecast_of(world, proxies, SLOW)
    many = batches(changed) * (envoy.MOST_RUNS + 3)
    nobody = tmp_path / "envoy"
    nobody.write_text("#!/bin/sh\nexit 0\n")
    nobody.chmod(0o700)
    verdict = await envoy.ask(nobody, many)
    assert (verdict.checked, verdict.unchecked) == (envoy.MOST_RUNS, 3)
    assert verdict.note == envoy.NOT_ALL


def test_a_forecast_ends_when_nobody_waits_for_it(world: World, proxies: list[Proxy]) -> None:
    class EnoughError(Exception):
        """It is to end."""

    def rest() -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        forecast(world, {}, proxies, rest)


def forecast_of(world: World, proxies: list[Proxy], text: str) -> Any:
    read = document(text)
    return forecast(world, {read.key: read}, proxies, lambda: None).proxies


async def test_the_api_answers_it(api: ApiServer, world: World, proxies: list[Proxy]) -> None:
    api.view.world, api.view.parties = world, proxies
    body = {"apply": [raw(SLOW)], "delete": []}
    reply = await api.call("POST", "/v1/policies/dry-run", json=body, admin=ADMIN_TOKEN)
    assert reply.status == 200, reply.body
    assert [each["id"] for each in reply.body["proxies"]] == ["web/web-1"]
    odd = {"aply": [], "delete": [{"type": "MeshTimeout"}]}
    reply = await api.call("POST", "/v1/policies/dry-run", json=odd, admin=ADMIN_TOKEN)
    assert reply.status == 422
    assert {each["path"] for each in reply.body["violations"]} == {"aply", "delete[0].name"}


async def test_more_is_read_than_of_other_requests(api: ApiServer) -> None:
    padding = {"type": "MeshTimeout", "name": "x" * 300_000, "spec": {}}
    body = {"apply": [padding]}
    reply = await api.call("POST", "/v1/policies/dry-run", json=body, admin=ADMIN_TOKEN)
    assert (reply.status, bool(reply.body["violations"])) == (200, True)
