"""The server against grpcio's own client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER
from mesh.model.proxies import GATEWAYS, METADATA_KEY, Upstream
from mesh.xds.call import MAX_UPSTREAMS, METHOD
from tests.waiting import until
from tests.xds.conftest import WEB, Dial, Zone, need
from tests.xds.model import request, snapshot

CONTENT = {CLUSTER: {"api": "1"}, ENDPOINTS: {"api": "1"}, LISTENER: {}}


async def test_snapshot_then_change_then_ack(zone: Zone, dial: Dial) -> None:
    zone.book.snapshot = snapshot(CONTENT)
    stream = dial()
    await stream.send(request(CLUSTER))
    clusters = await stream.read()
    assert [(one.name, one.version) for one in clusters.resources] == [("api", "1")]
    await stream.send(request(CLUSTER, nonce=clusters.nonce))
    await stream.send(request(ENDPOINTS, subscribe=["api"]))
    endpoints = await stream.read()
    await stream.send(request(ENDPOINTS, nonce=endpoints.nonce))
    await until(lambda: zone.server.proxies()[0].in_sync)

    zone.publish({**CONTENT, ENDPOINTS: {"api": "2"}})
    changed = await stream.read()
    assert [(one.name, one.version) for one in changed.resources] == [("api", "2")]
    assert not zone.server.proxies()[0].in_sync
    await stream.send(request(ENDPOINTS, nonce=changed.nonce))
    await until(lambda: zone.server.proxies()[0].in_sync)

    [status] = zone.server.proxies()
    assert status.identity == WEB
    assert status.need == need()
    assert status.node == "web/1"
    assert status.bytes_sent > 0
    assert zone.counts.pushed == zone.counts.acked == [CLUSTER, ENDPOINTS, ENDPOINTS]


async def test_refused_content_is_reported(
    zone: Zone, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    zone.book.snapshot = snapshot(CONTENT)
    stream = dial()
    await stream.send(request(CLUSTER))
    clusters = await stream.read()
    await stream.send(request(CLUSTER, nonce=clusters.nonce, error="no such filter"))
    await until(lambda: bool(zone.counts.nacked))
    [status] = zone.server.proxies()
    nack = status.types[0].nack
    assert nack is not None
    assert (nack.names, nack.reason) == (("api",), "no such filter")
    assert not status.in_sync
    assert "web/1 refused api; it keeps its last good version: no such filter" in caplog.text


async def test_two_changes_before_a_turn_are_sent_as_one(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    empty = await stream.read()
    await stream.send(request(CLUSTER, nonce=empty.nonce))
    await until(lambda: zone.counts.acked == [CLUSTER])
    zone.publish({CLUSTER: {"api": "1"}})
    zone.publish({CLUSTER: {"api": "2"}})
    changed = await stream.read()
    assert [(one.name, one.version) for one in changed.resources] == [("api", "2")]
    assert len(zone.counts.pushed) == 2


@pytest.mark.parametrize(
    ("metadata", "code", "words"),
    [
        (need("api").to_metadata(), "PERMISSION_DENIED", ["'api'", WEB.uri]),
        (need(zone="dc2").to_metadata(), "PERMISSION_DENIED", ["'dc2'", WEB.uri]),
        ({"service": "web", "zone": "dc1", "x": 1}, "INVALID_ARGUMENT", ["x: unknown field"]),
        *(
            (
                {"service": "web", "zone": "dc1", "role": role.value},
                "PERMISSION_DENIED",
                [f"a {role.value} as {WEB.uri}", "mesh-egress", "mesh-gateway"],
            )
            for role in GATEWAYS
        ),
        ({}, "INVALID_ARGUMENT", ["service: expected", "zone: expected"]),
    ],
)
async def test_metadata_must_agree_with_the_certificate(
    zone: Zone, dial: Dial, metadata: dict[str, object], code: str, words: list[str]
) -> None:
    stream = dial(metadata=metadata)
    await stream.send(request(CLUSTER))
    status, message = await stream.end()
    assert status == code
    for word in words:
        assert word in message
    assert zone.counts.refused == [code]
    assert not zone.book.sessions


async def test_a_proxy_hears_nothing_before_there_is_something_to_say(
    zone: Zone, dial: Dial
) -> None:
    """And loses nothing of what it holds from before when there is."""
    zone.book.snapshot = None
    stream = dial()
    first = request(CLUSTER)
    first.initial_resource_versions["api"] = "1"
    first.initial_resource_versions["gone"] = "1"
    await stream.send(first)
    await stream.send(request(ENDPOINTS, subscribe=["api"]))
    await until(lambda: len(zone.server.proxies()) == 1)
    assert not zone.counts.pushed
    assert not zone.server.proxies()[0].in_sync
    zone.publish({CLUSTER: {"api": "1"}, ENDPOINTS: {"api": "7"}})
    answers = {answer.type_url: answer for answer in (await stream.read(), await stream.read())}
    assert [one.version for one in answers[ENDPOINTS].resources] == ["7"]
    assert not answers[CLUSTER].resources
    assert list(answers[CLUSTER].removed_resources) == ["gone"]


async def test_what_was_asked_too_early_and_wrongly_ends_the_stream_with_the_reason(
    zone: Zone, dial: Dial
) -> None:
    zone.book.snapshot = None
    stream = dial()
    await stream.send(request(""))
    await until(lambda: bool(zone.book.sessions))
    zone.publish({CLUSTER: {"api": "1"}})
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "must not be empty" in message
    await until(lambda: not zone.book.sessions)


async def test_a_proxy_cannot_keep_the_zone_busy_for_thousands_of_upstreams(
    zone: Zone, dial: Dial
) -> None:
    many = tuple(Upstream(f"s{number}", number) for number in range(1, MAX_UPSTREAMS + 2))
    stream = dial(metadata=replace(need(), upstreams=many).to_metadata())
    await stream.send(request(CLUSTER))
    status, message = await stream.end()
    assert (status, "at most" in message) == ("INVALID_ARGUMENT", True)
    assert not zone.book.sessions


async def test_what_is_asked_before_there_is_an_answer_is_bounded(zone: Zone, dial: Dial) -> None:
    zone.book.snapshot = None
    stream = dial()
    names = [f"{number:01000}" for number in range(2000)]
    for turn in range(3):
        await stream.send(request(CLUSTER if turn else ENDPOINTS, subscribe=names))
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "before the first answer" in message
    await until(lambda: not zone.book.sessions)


@pytest.mark.parametrize("node", ["api/1", "api", "", "web", "web/", "web/" + "1" * 300])
async def test_a_proxy_is_listed_under_its_own_service(zone: Zone, dial: Dial, node: str) -> None:
    """Operators find a proxy by its node's id: nobody shall pass for another there."""
    stream = dial()
    first = request(CLUSTER)
    first.node.id = node
    first.node.metadata.update({METADATA_KEY: need().to_metadata()})
    await stream.call.write(first)
    status, message = await stream.end()
    assert status == "PERMISSION_DENIED"
    assert "must be 'web/<instance>'" in message
    assert not zone.book.sessions


async def test_directory_may_refuse(zone: Zone, dial: Dial) -> None:
    zone.book.refuse.add("web")
    stream = dial()
    await stream.send(request(CLUSTER))
    assert await stream.end() == (
        "PERMISSION_DENIED",
        "web is not registered: register it first",
    )


async def test_other_methods_are_not_served(zone: Zone, dial: Dial) -> None:
    stream = dial(method=METHOD.replace("Delta", "Stream"))
    assert (await stream.end())[0] == "UNIMPLEMENTED"
    assert zone.counts.refused == ["UNIMPLEMENTED"]


async def test_bytes_that_are_not_protobuf_end_the_stream(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.call.write(b"\xff\xff\xff")
    status, message = await stream.end()
    assert status == "INVALID_ARGUMENT"
    assert "malformed protobuf" in message
    assert zone.counts.refused == ["INVALID_ARGUMENT"]


async def test_a_client_that_half_closes_gets_ok(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
    await stream.call.done_writing()
    assert await stream.end() == ("OK", "")
    await until(lambda: not zone.book.sessions)


async def test_drop_ends_the_stream_with_the_reason(zone: Zone, dial: Dial) -> None:
    stream = dial()
    await stream.send(request(CLUSTER))
    await stream.read()
    [number] = zone.book.sessions
    assert zone.server.drop(number, "certificate revoked")
    assert await stream.end() == ("UNAVAILABLE", "certificate revoked")
    assert not zone.server.drop(number)
