"""Embedded registries of several zones that read from each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError
from mesh.demo.loopback import free_ports
from mesh.embedded.server import EmbeddedRegistry

TOKEN = "both-have-it"


async def test_reads_of_another_datacenter_are_its_own_answers(tmp_path: Path) -> None:
    east_port, west_port, nobody = free_ports(3)
    known = {"west": f"http://127.0.0.1:{west_port}", "gone": f"http://127.0.0.1:{nobody}"}
    east = EmbeddedRegistry(tmp_path / "east", TOKEN, "east", neighbours=known)
    west = EmbeddedRegistry(tmp_path / "west", TOKEN, "west")
    url = await east.start("127.0.0.1", east_port)
    await west.start("127.0.0.1", west_port)
    try:
        async with (
            ConsulClient(ConsulAddress(url=url, token=TOKEN)) as here,
            ConsulClient(ConsulAddress(url=url, token=TOKEN, datacenter="west")) as there,
            ConsulClient(ConsulAddress(url=url, token=TOKEN, datacenter="gone")) as gone,
            ConsulClient(ConsulAddress(url=url, token="wrong", datacenter="west")) as stranger,
            ConsulClient(ConsulAddress(url=west.url, token=TOKEN)) as at_west,
        ):
            assert await here.datacenters() == ("east", "gone", "west")
            await here.kv_put("greeting", b"from east")
            await at_west.kv_put("greeting", b"from west")
            answer = await there.kv_get("greeting")
            assert answer.value is not None
            assert answer.value.data == b"from west"
            # A read that waits ends with the news.
            await at_west.kv_put("greeting", b"again")
            news = await there.kv_get("greeting", index=answer.index, wait=5)
            assert news.value is not None
            assert news.value.data == b"again"
            with pytest.raises(ConsulError, match="no path to datacenter"):
                await gone.kv_get("greeting")
            with pytest.raises(ConsulError, match="Permission denied"):
                await stranger.kv_get("greeting")
            with pytest.raises(ConsulError, match="forwards no writes"):
                await there.txn([{"KV": {"Verb": "set", "Key": "a", "Value": "YQ=="}}])
    finally:
        await east.close()
        await west.close()
