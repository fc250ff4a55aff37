"""Ports are looked at before Envoy is started."""

from __future__ import annotations

import asyncio

import pytest

from mesh.agent.errors import PortTakenError
from mesh.agent.ports import check_free
from mesh.agent.settings import AgentSettings


async def test_a_port_that_is_taken_is_named(settings: AgentSettings) -> None:
    assert settings.inbound is not None
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", settings.inbound.port)
    async with server:
        with pytest.raises(PortTakenError, match=f"inbound .*{settings.inbound.port}"):
            check_free(settings.need("dc1"))
    check_free(settings.need("dc1"))
