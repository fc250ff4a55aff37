"""Ports are looked at before Envoy is started."""

from __future__ import annotations

import asyncio
import dataclasses
import socket

import pytest

from mesh.agent.errors import PortTakenError
from mesh.agent.ports import check_free
from mesh.agent.settings import AgentSettings
from mesh.model.proxies import Capture


async def test_a_port_that_is_taken_is_named(settings: AgentSettings) -> None:
    assert settings.inbound is not None
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", settings.inbound.port)
    async with server:
        with pytest.raises(PortTakenError, match=f"inbound .*{settings.inbound.port}"):
            check_free(settings.need("dc1"))
    check_free(settings.need("dc1"))


def test_a_port_for_questions_is_looked_at_over_udp(settings: AgentSettings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        need = dataclasses.replace(settings, dns=Capture("127.0.0.1", port)).need("dc1")
        with pytest.raises(PortTakenError, match=f"names .*{port}"):
            check_free(need)
    check_free(need)
