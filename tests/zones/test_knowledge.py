"""What a zone knows of another: kept when the other loses it, told with its age, and forgotten."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.aio.clock import SystemClock
from mesh.clients.consul import ConsulClient
from mesh.sources.zones import document, record
from tests.traffic.waiting import until
from tests.zones.bed import made
from tests.zones.estates import three
from tests.zones.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.mark.alone
async def test_a_zones_whole_consul_is_lost_and_restored_empty(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        targets = {"local": found.a.url("web", "api"), "across": found.a.url("web", "orders")}
        async with Load(targets, seconds=150, most=60_000) as load:
            await load.reach(200)
            await found.b.consul.kill()

            async def stale() -> bool | None:
                known = (await found.zones_seen(found.a))["b"]
                return True if known["state"] == "stale" else None

            await until("the loss is noticed", stale, patience=60)
            known = (await found.zones_seen(found.a))["b"]
            assert known["services"]["orders"]["healthy"] == 1
            assert known["heard_seconds_ago"] > 0
            assert "cannot be read" in known["reason"]
            await found.b.consul.wipe()
            await found.bed.federated()

            async def fresh() -> bool | None:
                known = (await found.zones_seen(found.a))["b"]
                whole = known["state"] == "ok" and "orders" in known["services"]
                return True if whole and known["gateways"] else None

            await until("b is known again as it was", fresh, patience=90)
            await load.reach(200)
        assert load.failed == 0, str(load)


async def test_a_zone_removed_for_good_leaves_nothing_behind(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        web = found.a.estate.services["web"]

        async def dialled() -> bool:
            code, output, _ = await found.a.estate.mesh_result(
                ["config", "endpoints", "--proxy", "web/web-1", "-o", "json"]
            )
            assert code == 0
            return found.c.host.address in output

        assert await dialled()
        # One that is alive is not forgotten by mistake.
        code, _, errors = await found.a.estate.mesh_result(["zone", "forget", "c"])
        assert code == 1
        assert "zone c was heard just now" in errors
        async with Load({"local": found.a.url("web", "api")}, seconds=150) as load:
            await asyncio.gather(*(each.child.stop() for each in found.c.estate.services.values()))
            zone = found.c.estate.zone
            assert zone is not None
            await zone.stop()
            await found.c.consul.put("agent/leave")

            async def forgotten() -> bool | None:
                code, _, _ = await found.a.estate.mesh_result(["zone", "forget", "c"])
                return True if code == 0 else None

            await until("c may be forgotten", forgotten, patience=90)

            async def nothing_left() -> bool | None:
                async with ConsulClient(found.a.consul.address) as client:
                    keys = (await client.kv_keys("mesh/")).value
                left = [key for key in keys if key.endswith("/c")]
                return None if left or await dialled() else True

            await until("nothing of c is left", nothing_left, patience=30)
            assert "c" not in await found.zones_seen(found.a)
            await load.reach(100)
        assert load.failed == 0
        assert web.child.is_running


async def test_a_clock_minutes_ahead_is_told_and_harms_nobody(tmp_path: Path) -> None:
    async with three(tmp_path) as found:
        zone = found.c.estate.zone
        assert zone is not None
        # What c publishes from now on is dated five minutes ahead, as by a clock that is.
        zone.freeze()
        async with ConsulClient(found.c.consul.address) as client:
            held = (await client.kv_get(f"{document.PREFIX}c")).value
            assert held is not None
            ahead = SystemClock().now() + timedelta(minutes=5)
            said = {**json.loads(held.data), "published_at": ahead.isoformat()}
            await client.kv_put(f"{document.PREFIX}c", json.dumps(said).encode())

        async def told() -> bool | None:
            skew = (await found.zones_seen(found.a))["c"]["clock_ahead_seconds"]
            return True if 295 < skew < 305 else None

        await until("the clock is told", told, patience=45)
        assert "5m0s ahead" in await found.a.estate.mesh(["zones"]) or "4m59s ahead" in (
            await found.a.estate.mesh(["zones"])
        )
        await found.bed.zones["a"].applications["api-1"].child.kill()
        # With its own gone, a's callers go to the others, c among them.
        status, _ = await found.status(found.a.url("web", "stock"))
        assert status == 200
        zone.thaw()


async def test_a_document_under_another_name_is_not_believed(tmp_path: Path) -> None:
    async with made(tmp_path, ("a", "b")) as bed:
        a, b = bed.zones["a"], bed.zones["b"]
        await asyncio.gather(a.start_control_plane(), b.start_control_plane())
        # A zone whose settings say the name of another does not start at all.
        settings = json.loads((b.estate.directory / "zone.yaml").read_text())
        file = tmp_path / "claims-a.yaml"
        file.write_text(json.dumps({**settings, "zone": "a"}))
        code, _, errors = await b.estate.mesh_result(["zone", "--config", str(file)])
        assert code == 2
        assert "is a, and this Consul is the datacenter b" in errors

        async def known() -> record.ZoneRecord | None:
            async with ConsulClient(a.consul.address) as client:
                held = (await client.kv_get(f"{record.PREFIX}b")).value
            return None if held is None else record.parse(held.data, "the record")

        before = await until("b is known", known, patience=30)
        zone = b.estate.zone
        assert zone is not None
        async with ConsulClient(b.consul.address) as client:
            held = (await client.kv_get(f"{document.PREFIX}b")).value
            assert held is not None
            for claim, reason in (
                ({"zone": "a"}, "its document is that of a zone a"),
                ({"trust_domain": "other.mesh"}, "another zone has taken the name"),
                ({"version": 7}, "upgrade the older zone"),
            ):
                said = {**json.loads(held.data), **claim, "published_at": ""}

                async def refused(
                    reason: str = reason, said: dict[str, object] = said
                ) -> record.ZoneRecord | None:
                    await client.kv_put(f"{document.PREFIX}b", json.dumps(said).encode())
                    now = await known()
                    return now if now is not None and reason in now.error else None

                after = await until(f"it is told: {reason}", refused, patience=30)
                assert after.document == before.document
