"""The guide to more zones, followed word for word on two real Consuls with ACLs on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError
from mesh.demo.estate import Service
from mesh.sources.zones.document import PREFIX
from tests.docs.blocks import GUIDES, Block, blocks
from tests.traffic.waiting import until
from tests.zones.bed import Zone, made
from tests.zones.walkthrough import CommandError, Walkthrough, sections

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

PAGE: Final = GUIDES / "multi-zone.md"
MANAGER: Final = "b0075a47-0000-4000-8000-000000000001"
ZONES: Final = ("east", "west")
GATEWAYS: Final = ("gw-1.west", "gw-2.west", "gw-1.east", "gw-2.east")
OF_OTHER_GUIDES: Final = {
    "first-zone.md": ("mesh-zone", "mesh-operator"),
    "traffic.md": ("mesh-policies",),
}
HOME: Final = Block("sh", "# vm-web.east\ncurl -f http://127.0.0.1:9001/\n")
NOBODY: Final = Block("sh", "# vm-web.east\n! curl -f http://127.0.0.1:9001/\n")
_SECRET: Final = re.compile(r"SecretID: +(\S+)\nDescription: +(.*)\n")
_OUTSIDE: Final = "0.0.0.0"  # noqa: S104 - every address of a network that is the test's own


@dataclass(slots=True)
class Guide(Walkthrough):
    """The page, section by section; ``left`` is what was not run yet."""

    left: dict[str, list[Block]] = field(default_factory=lambda: sections(PAGE))

    def section(self, number: int) -> dict[str, list[Block]]:
        """Return the blocks of the next section by language, with its documents written down."""
        title = next(iter(self.left))
        assert title.startswith(f"{number}. "), title
        found: dict[str, list[Block]] = {}
        for block in self.left.pop(title):
            found.setdefault(block.language, []).append(block)
            if block.name:
                self.write(block)
        return found

    def write(self, block: Block) -> None:
        """Put a file where it is used: on the hosts of the control planes."""
        for zone in ZONES:
            (self.folder(f"zone-1.{zone}") / block.name).write_text(block.text)

    async def tokens(self, block: Block) -> dict[str, str]:
        """Type what makes tokens, and return their secrets by description."""
        printed = await self.typed(block)
        return {description: secret for secret, description in _SECRET.findall(printed)}


def settings_of_consul(page: Mapping[str, Sequence[Block]]) -> dict[str, Any]:
    """Return what the guide says of a Consul, with tokens."""
    (said,) = (json.loads(each.text) for each in page["What it takes"])
    tokens = dict.fromkeys(("master", "agent", "replication"), MANAGER)
    return {**said, "client_addr": _OUTSIDE, "acl": {**said["acl"], "tokens": tokens}}


@asynccontextmanager
async def guided(directory: Path) -> AsyncIterator[Guide]:
    """Start two Consuls and a Vault; the other guides' rules and the operator's token are made."""
    consul = settings_of_consul(sections(PAGE))
    async with made(directory, ZONES, consul=consul, consul_token=MANAGER) as bed:
        manager, operator = directory / "manager.token", directory / "operator.token"
        manager.write_text(MANAGER)
        guide = Guide(bed, directory, manager, operator)
        rules = [
            block
            for page, names in OF_OTHER_GUIDES.items()
            for block in blocks(GUIDES / page, "hcl")
            if block.name.removesuffix(".hcl") in names
        ]
        for block in rules:
            guide.write(block)
        made_here = await guide.tokens(
            Block(
                "sh",
                "# zone-1.east\n"
                "consul acl policy create -name mesh-operator -rules @mesh-operator.hcl\n"
                "consul acl policy create -name mesh-policies -rules @mesh-policies.hcl\n"
                "consul acl token create -description operator"
                " -policy-name mesh-operator -policy-name mesh-policies\n",
            )
        )
        operator.write_text(made_here["operator"])
        try:
            yield guide
        finally:
            await asyncio.gather(*(child.stop() for child in guide.units))


async def service(guide: Guide, zone: Zone, name: str, upstreams: Sequence[str] = ()) -> Service:
    """Start a service as the first zone's guide does: on a token that is its own and no more."""
    command = f"consul acl token create -description {name} -service-identity {name}:{zone.name}"
    secrets = await guide.tokens(Block("sh", f"# zone-1.east\n{command}\n"))
    token = guide.directory / f"{name}.{zone.name}.token"
    token.write_text(secrets[name])
    consul = {"url": zone.consul.url, "token_file": str(token)}
    given = {"consul": consul, "upstreams": list(upstreams)}
    return await zone.start_service(name, settings=given)


async def repeated(guide: Guide, block: Block, *wanted: str) -> str:
    """Type ``block`` until all of it works and everything ``wanted`` is in what it prints."""

    async def so() -> str | None:
        try:
            printed = await guide.typed(block)
        except CommandError as error:
            latest.append(str(error))
            return None
        latest.append(printed)
        return printed if all(word in printed for word in wanted) else None

    latest: list[str] = []
    try:
        return await until(f"{wanted}", so, patience=60)
    except AssertionError as error:
        raise AssertionError(f"{error}; it printed\n{latest[-1]}") from error


def part(block: Block, *lines: int) -> Block:
    """Return some of the commands of a block."""
    where, *commands = block.text.splitlines()
    return Block("sh", "\n".join((where, *(commands[line] for line in lines))))


def answered(printed: str) -> list[str]:
    """Return in which zones calls were answered, from what curl prints."""
    return re.findall(r'"zone": "(\w+)"', printed)


async def test_the_guide_holds_what_it_promises(tmp_path: Path) -> None:
    async with guided(tmp_path) as guide:
        guide.left.pop("What it takes")
        await _tokens_and_zones(guide)
        await _gateways(guide)
        await _calls(guide)
        await _which_zone(guide)
        await _policies(guide)
        assert not {title for title, found in guide.left.items() if found}


async def _tokens_and_zones(guide: Guide) -> None:
    (making,) = guide.section(1)["sh"]
    secrets = await guide.tokens(making)
    for name, zone in guide.bed.zones.items():
        zone.estate.consul_token = guide.folder(f"zone-1.{name}") / "consul.token"
        zone.estate.consul_token.write_text(secrets[f"mesh zone {name}"])
        for host in GATEWAYS:
            if host.endswith(name):
                (guide.folder(host) / "consul.token").write_text(secrets[f"gateways of {name}"])
    # It reads what the other says of itself, and writes nothing there.
    there = ConsulAddress(
        guide.bed.zones["west"].consul.url, token=secrets["mesh zone west"], datacenter="east"
    )
    async with ConsulClient(there) as client:
        assert (await client.kv_get(f"{PREFIX}east")).value is None
        for key in (f"{PREFIX}east", "mesh/federation/west"):
            with pytest.raises(ConsulError, match="Permission denied"):
                await client.kv_put(key, b"stolen")
    await asyncio.gather(*(zone.start_control_plane() for zone in guide.bed.zones.values()))


async def _gateways(guide: Guide) -> None:
    said = guide.section(3)
    (settings,), (tokens, starting) = said["yaml"], said["sh"]
    for zone in ZONES:
        await guide.typed(tokens, f"zone-1.{zone}")
    for host in GATEWAYS:
        name, _, zone = host.partition(".")
        number = ZONES.index(zone) + 1
        text = settings.text.replace("zone-1.west", f"zone-1.{zone}")
        text = text.replace("10.0.2.11", f"10.0.{number}.1{name[-1]}")
        file = guide.folder(host) / settings.name
        file.write_text(guide.placed(f"{text}  url: {guide.zone(host).consul.url}\n", host))
        token = guide.folder(f"zone-1.{zone}") / f"{name}.join"
        (guide.folder(host) / "proxy-gateway.token").write_bytes(token.read_bytes())
    for host in GATEWAYS:
        await guide.typed(starting, host)


async def _calls(guide: Guide) -> None:
    said = guide.section(4)
    east, west = guide.bed.zones.values()
    looking, writing, calling = said["sh"]
    (settings,) = said["yaml"]
    await service(guide, east, "web", yaml.safe_load(settings.text)["upstreams"])
    for zone, name in ((east, "api"), (west, "api"), (west, "orders")):
        await service(guide, zone, name)
    await guide.typed(writing)
    await repeated(guide, looking, "this zone", "ok", "2/2", " ms")
    printed = await repeated(guide, calling)
    assert answered(printed) == ["east", "west", "west"]


async def _which_zone(guide: Guide) -> None:
    said = guide.section(5)
    explaining, applying, deleting, entries = said["sh"]
    estate = guide.bed.zones["east"].estate
    await repeated(guide, explaining, "zone west, ", "stands in: 1 answer there")
    await _without_control_planes(guide)
    # Nobody at home, and nothing said: the other zone; and nothing but home, if that is said.
    await estate.services["api-1"].child.stop()
    await repeated(guide, HOME, '"zone": "west"')
    await guide.typed(part(applying, 1))
    await repeated(guide, NOBODY)
    await guide.typed(deleting)
    await repeated(guide, HOME, '"zone": "west"')
    # The document that names the zone does as well, and so does Consul's own entry.
    await guide.typed(part(applying, 0))
    await repeated(
        guide, part(explaining, 0), "zone west, ", "(MeshLoadBalancingStrategy api-elsewhere)"
    )
    await guide.typed(deleting)
    await guide.typed(entries)
    await repeated(guide, part(explaining, 0), "service-resolver")
    await repeated(guide, HOME, '"zone": "west"')


async def _without_control_planes(guide: Guide) -> None:
    """Calls leave a zone whose application died, and return, with nobody to tell them."""
    zones = guide.bed.zones.values()
    for each in zones:
        assert each.estate.zone is not None
        await each.estate.zone.kill()
    east = guide.bed.zones["east"]
    application = east.applications["api-1"]
    await application.child.kill()
    await repeated(guide, HOME, '"zone": "west"')
    await east.start_application("api-1", port=application.port)
    await repeated(guide, HOME, '"zone": "east"')
    await asyncio.gather(*(each.start_control_plane() for each in zones))


async def _policies(guide: Guide) -> None:
    said = guide.section(6)
    (applying, getting) = said["sh"]
    await guide.typed(applying)
    await repeated(guide, getting, "primary")
    own = Block("sh", applying.text.replace("east", "west"))
    await guide.typed(own)
    assert "primary" not in await guide.typed(getting)
    await guide.typed(Block("sh", "# zone-1.west\nmesh delete retry reads\n"))
    assert "primary" in await guide.typed(getting)
