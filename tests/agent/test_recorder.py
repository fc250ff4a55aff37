"""What a real Envoy runs is recorded, and enough to start from."""

from __future__ import annotations

import json

from mesh.agent.envoy_process import Role
from mesh.agent.supervisor import LAST_GOOD
from mesh.agent.validation import refusal
from mesh.envoy.resource import ENDPOINTS
from tests.agent import discovery
from tests.agent.conftest import free_port
from tests.agent.supervised import BINARY, Place, get, record, serves, supervised
from tests.waiting import until


async def test_the_record_stands_alone(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        content = await record(place, supervisor)
    text = content.decode()
    for reference in ("path_config_source", "config_discovery", "rds", "eds_config"):
        assert f'"{reference}"' not in text
    assert json.loads(text)["static_resources"]["clusters"][0]["type"] == "STATIC"
    assert await refusal(BINARY, LAST_GOOD, place.state) == ""


async def test_a_change_is_recorded(place: Place) -> None:
    recorder = place.recorder()
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        live = supervisor.live
        assert live is not None
        await until(lambda: recorder.poll(live.admin))
        moved = free_port()
        discovery.publish(place.state, "eds", [discovery.assignment("local_app", moved)], ENDPOINTS)
        await until(lambda: recorder.poll(live.admin))
    assert str(moved).encode() in (place.state.read(LAST_GOOD) or b"")


async def test_with_the_zone_away_envoy_starts_from_the_record_at_once(place: Place) -> None:
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.LIVE)
        await record(place, supervisor)
    place.zone.on = False
    for kind in ("cds", "lds", "eds", "rds", "ecds"):
        place.state.remove(f"{kind}.json")
    async with supervised(place) as supervisor:
        await serves(supervisor, Role.FALLBACK)
        assert await get(place.inbound, "/in") == "hello /in"
        assert await get(place.outbound, "/out") == "hello /out"
        assert supervisor.live is None
