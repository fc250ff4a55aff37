"""Virtual addresses: unique, stable, and at rest for a day before they change hands."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mesh.clients.consul import ConsulClient
from mesh.controlplane.vips import (
    PREFIX,
    QUARANTINE,
    Allocation,
    Delete,
    Put,
    Step,
    VirtualAddresses,
    plan,
)

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DOMAIN = "mesh.test"


def apply(held: list[Allocation], steps: list[Step]) -> list[Allocation]:
    """Do what Consul would."""
    kept = {each.service: each for each in held}
    for step in steps:
        match step:
            case Put(allocation):
                before = kept.get(allocation.service)
                created = before.created if before else len(kept) + 1
                kept[allocation.service] = replace(allocation, created=created)
            case Delete(allocation):
                del kept[allocation.service]
    return list(kept.values())


def test_a_service_gets_one_address_of_each_family() -> None:
    (held,) = apply([], plan([], ["web"], DOMAIN, NOW))
    assert ipaddress.ip_address(held.ipv4) in ipaddress.ip_network("240.0.0.0/4")
    assert ipaddress.ip_address(held.ipv6) in ipaddress.ip_network("fd00::/8")
    assert plan([held], ["web"], DOMAIN, NOW) == []


def test_a_lost_kv_gives_the_same_address_again() -> None:
    (first,) = apply([], plan([], ["web"], DOMAIN, NOW))
    (again,) = apply([], plan([], ["web"], DOMAIN, NOW + timedelta(days=9)))
    assert first.ipv4 == again.ipv4


def test_a_service_that_returns_within_the_day_has_its_address_still() -> None:
    held = apply([], plan([], ["web"], DOMAIN, NOW))
    gone = apply(held, plan(held, [], DOMAIN, NOW))
    back = apply(gone, plan(gone, ["web"], DOMAIN, NOW + timedelta(hours=23)))
    assert [each.ipv4 for each in back] == [each.ipv4 for each in held]
    assert back[0].released_at is None


def test_a_released_address_is_forgotten_after_the_day() -> None:
    held = apply([], plan([], ["web"], DOMAIN, NOW))
    gone = apply(held, plan(held, [], DOMAIN, NOW))
    assert plan(gone, [], DOMAIN, NOW + QUARANTINE - timedelta(seconds=1)) == []
    assert apply(gone, plan(gone, [], DOMAIN, NOW + QUARANTINE)) == []


def test_of_two_that_share_an_address_the_younger_moves() -> None:
    (elder,) = apply([], plan([], ["web"], DOMAIN, NOW))
    younger = replace(elder, service="api", created=elder.created + 1, index=7)
    after = apply([elder, younger], plan([elder, younger], ["web", "api"], DOMAIN, NOW))
    addresses = {each.service: each.ipv4 for each in after}
    assert addresses["web"] == elder.ipv4
    assert addresses["api"] != elder.ipv4


SERVICES = 8
names = st.sampled_from([f"s{number}" for number in range(SERVICES)])
moments = st.lists(
    st.tuples(st.frozensets(names), st.integers(min_value=0, max_value=40)), max_size=12
)


@given(moments)
def test_addresses_are_unique_and_never_reused_within_a_day(
    history: list[tuple[frozenset[str], int]],
) -> None:
    held: list[Allocation] = []
    released: dict[str, tuple[str, datetime]] = {}
    now = NOW
    for wanted, hours in history:
        now += timedelta(hours=hours)
        before = {each.service: each for each in held if each.released_at is None}
        # No more addresses than services: whatever is given away too early is taken at once.
        held = apply(held, plan(held, wanted, DOMAIN, now, pool=SERVICES))
        after = {each.service: each for each in held if each.released_at is None}
        assert set(after) == wanted
        assert len({each.ipv4 for each in held}) == len(held)
        for service, allocation in after.items():
            owner, since = released.get(allocation.ipv4, (service, NOW))
            assert owner == service or now - since >= QUARANTINE
        for service in before.keys() - after.keys():
            released[before[service].ipv4] = (service, now)


async def test_allocations_are_kept_in_consul(consul: ConsulClient) -> None:
    vips = VirtualAddresses(consul, DOMAIN)
    first = await vips.reconcile(["web", "api"], NOW)
    assert set(first) == {"web", "api"}
    assert await VirtualAddresses(consul, DOMAIN).reconcile(["web", "api"], NOW) == first
    assert set(await vips.reconcile(["web"], NOW)) == {"web"}


async def test_two_allocators_at_once_agree(consul: ConsulClient) -> None:
    services = [f"s{number}" for number in range(10)]
    one, two = await asyncio.gather(
        *(VirtualAddresses(consul, DOMAIN).reconcile(services, NOW) for _ in range(2))
    )
    assert one == two


async def test_an_unreadable_entry_is_left_alone(consul: ConsulClient) -> None:
    await consul.kv_put(PREFIX + "web", b"not an allocation")
    held = await VirtualAddresses(consul, DOMAIN).reconcile(["web", "api"], NOW)
    assert set(held) == {"api"}
    entry = (await consul.kv_get(PREFIX + "web")).value
    assert entry is not None
    assert entry.data == b"not an allocation"
