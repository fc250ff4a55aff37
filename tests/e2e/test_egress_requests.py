"""Intentions on requests to an external service: judged by the egress gateway."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import puts
from mesh.demo.estate import HOST, TRUST_DOMAIN, Estate, free_ports
from mesh.model.intentions import Action, Intention, Permission
from mesh.model.proxies import Role
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.traffic.applications import Application, http
from tests.traffic.gateways import start_gateway
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


async def test_what_no_intention_allows_is_answered_by_the_gateway(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        estate = await stack.enter_async_context(Estate(tmp_path))
        await estate.start_zone()
        consul = await stack.enter_async_context(estate.client())
        port, web_port = free_ports(2)
        outside = await stack.enter_async_context(http(Application("outside", port)))
        spec = {
            "match": {"protocol": "http"},
            "endpoints": [{"address": HOST, "port": port}],
            "egress": True,
        }
        document = {"type": "MeshExternalService", "name": "pay", "spec": spec}
        store = Policies(consul)
        await store.commit([*puts(await store.read("default"), [parse(document, KINDS).raw])])
        reading = Permission(Action.ALLOW, methods=("GET",))
        await consul.intentions.put(Intention("web", "pay", permissions=(reading,)))
        token = {"token_file": str(estate.consul_token_file), "url": estate.consul_url}
        gateway = await start_gateway(stack, estate, Role.EGRESS, "egress-1", {"consul": token})
        web = await estate.start_proxy(
            "web", app_port=web_port, upstreams=["pay"], settings={"health": {"kind": "none"}}
        )
        await asyncio.gather(gateway.ready(), estate.ready())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://{HOST}:{web.upstreams['pay']}/charges"

        async def read() -> str | None:
            async with session.get(url) as answer:
                return await answer.text() if answer.status == 200 else None

        answer = json.loads(await until("web reads", read, patience=30))
        # Nobody outside is told who called.
        assert "x-forwarded-client-cert" not in answer["headers"]
        async with session.post(url) as refused:
            text = await refused.text()
        assert refused.status == 403
        caller = f"spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/web"
        assert f"mesh: {caller} may not POST /charges on pay, outside of zone dc1" in text
        assert outside.seen["/charges"] == 1

        # Not even by an Envoy of web's that would let it pass.
        context = ssl.create_default_context(cafile=str(estate.bundle_file))
        context.check_hostname = False
        context.load_cert_chain(web.state / "svid.pem", web.state / "svid.key")
        reader, writer = await asyncio.open_connection(
            HOST,
            gateway.port,
            ssl=context,
            server_hostname=f"pay.default.dc1.internal.{TRUST_DOMAIN}",
        )
        writer.write(b"DELETE /charges HTTP/1.1\r\nhost: pay\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")
        writer.close()
        assert outside.seen["/charges"] == 1
