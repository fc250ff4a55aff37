"""A real Envoy that follows the server, and what it may be sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.agent.envoy_process import find_envoy
from mesh.agent.identity import bundle_secret, identity_secret
from mesh.envoy import bootstrap, cluster, files, http, listener
from mesh.envoy.routes import route_table
from mesh.model.destinations import Destination, Selection, Settings, Target
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Respond, Route, Share
from tests.identities import identities
from tests.xds.conftest import DOMAIN, ZONE, Zone, need
from tests.xds.pki import Authority, Files


@asynccontextmanager
async def following(
    zone: Zone, proxy: Files, authority: Authority, state: Path
) -> AsyncIterator[None]:
    """Run an Envoy in ``state`` with the bootstrap that the agent writes; leaving ends it."""
    (state / files.IDENTITY_SDS).write_bytes(
        identity_secret(proxy.certificate.read_text(), proxy.key.read_text())
    )
    bundle = authority.bundle.read_text()
    (state / files.BUNDLE_SDS).write_bytes(bundle_secret(bundle))
    (state / files.BUNDLE_FILE).write_text(bundle)
    who = bootstrap.Proxy("1", ZONE, need(), (("127.0.0.1", zone.port),), "envoy.sock")
    (state / "bootstrap.json").write_text(json.dumps(bootstrap.live(who)))
    with (state / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(find_envoy(None)),
            *("-c", "bootstrap.json", "--use-dynamic-base-id", "--concurrency", "1"),
            cwd=state,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def upstream(service: str, *, timeout: float = 5.0) -> Any:
    """Return the cluster of ``service``."""
    settings = Settings(connect_timeout=timeout)
    destination = Destination(Selection(Target(service)), Protocol.TCP, settings)
    return cluster.of_destination(destination, identities(ZONE.zone, DOMAIN))


def web_listener(port: int) -> Any:
    """Return a listener whose requests are routed by the table ``web``."""
    return listener.listener(
        "web",
        address="127.0.0.1",
        port=port,
        filters=[http.outbound_manager("web", route="web")],
        direction=listener.TrafficDirection.OUTBOUND,
    )


def answering(body: str) -> Any:
    """Return a table ``web`` that answers every request."""
    return route_table("web", [Route(EVERYTHING, Respond(403, body))])


def forwarding(service: str) -> Any:
    """Return a table ``web`` that sends every request to ``service``."""
    return route_table("web", [Route(EVERYTHING, Forward((Share(Target(service)),)))])
