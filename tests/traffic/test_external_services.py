"""Services outside the mesh, which callers name like one within.

``outside`` is an upstream of the callers; until a policy says what it is, nobody stands there.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mesh.demo.estate import HOST, free_ports
from mesh.model.intentions import Action, Intention
from tests.traffic.applications import Application, http
from tests.traffic.bed import Bed
from tests.traffic.documents import policy
from tests.traffic.services import OUTSIDE
from tests.traffic.waiting import until
from tests.xds.pki import Authority

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("private-ca"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secure(authority: Authority) -> AsyncIterator[Application]:
    """An HTTPS server called ``localhost``, whose authority only its operator knows."""
    issued = authority.issue("secure", dns=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    async with http(Application("secure", free_ports(1)[0]), tls=context) as found:
        yield found


def external(
    *ports: int, address: str = HOST, protocol: str = "http", tls: dict[str, Any] | None = None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "match": {"protocol": protocol},
        "endpoints": [{"address": address, "port": port} for port in ports],
    }
    if tls is not None:
        spec["tls"] = tls
    return {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec}


async def test_an_upstream_that_nobody_registered_holds_up_no_other(bed: Bed) -> None:
    assert await bed.dial(OUTSIDE) == ""
    assert (await bed.call()).status == 200
    assert (await bed.dial("store")).startswith("store-")
    assert (await bed.rpc()).startswith("greeter-")


async def test_a_plain_http_host(bed: Bed) -> None:
    await bed.apply(external(bed.apps["spare-1"].port))
    answer = await bed.call("/there?x=1", service=OUTSIDE, method="POST", body=b"content")
    assert (answer.status, answer.instance) == (200, "spare-1")
    assert (answer.json["path"], answer.json["body"]) == ("/there?x=1", "content")
    await bed.delete("MeshExternalService", OUTSIDE)
    assert await bed.dial(OUTSIDE) == ""


async def test_a_host_by_its_dns_name(bed: Bed) -> None:
    await bed.apply(external(bed.apps["spare-1"].port, address="localhost"))
    assert (await bed.call(service=OUTSIDE)).instance == "spare-1"


async def test_several_endpoints_share_the_calls(bed: Bed) -> None:
    ports = [bed.apps[name].port for name in ("api-1", "api-2", "api-3")]
    evenly = policy(
        "MeshLoadBalancingStrategy", "loadBalancer: {type: RoundRobin}", service=OUTSIDE
    )
    await bed.apply(external(*ports), evenly)
    found = [(await bed.call(service=OUTSIDE)).instance for _ in range(9)]
    assert sorted(found) == sorted(["api-1", "api-2", "api-3"] * 3)


async def test_tls_origination_believes_the_given_authority(
    bed: Bed, secure: Application, authority: Authority
) -> None:
    tls = {"caCert": authority.bundle.read_text()}
    await bed.apply(external(secure.port, address="localhost", tls=tls))
    answer = await bed.call(service=OUTSIDE)
    assert (answer.status, answer.instance) == (200, "secure")


async def test_tls_origination_by_address_with_names(
    bed: Bed, secure: Application, authority: Authority
) -> None:
    names = {"sni": "localhost", "subjectAltNames": ["localhost"]}
    await bed.apply(external(secure.port, tls={"caCert": authority.bundle.read_text(), **names}))
    assert (await bed.call(service=OUTSIDE)).instance == "secure"


async def test_tls_origination_refuses_another_authority(
    bed: Bed, secure: Application, tmp_path: Path
) -> None:
    tls = {"caCert": Authority(tmp_path).bundle.read_text()}
    await bed.apply(external(secure.port, address="localhost", tls=tls))
    assert (await bed.call("/refused", service=OUTSIDE)).status == 503
    assert "/refused" not in secure.seen


async def test_tls_origination_refuses_another_name(
    bed: Bed, secure: Application, authority: Authority
) -> None:
    tls = {"caCert": authority.bundle.read_text(), "subjectAltNames": ["shop.example"]}
    await bed.apply(external(secure.port, address="localhost", tls=tls))
    assert (await bed.call("/misnamed", service=OUTSIDE)).status == 503
    assert "/misnamed" not in secure.seen


async def test_tls_origination_without_verification(bed: Bed, secure: Application) -> None:
    await bed.apply(external(secure.port, tls={"verification": "SkipAll"}))
    assert (await bed.call(service=OUTSIDE)).instance == "secure"


async def test_a_tcp_host(bed: Bed) -> None:
    await bed.apply(external(bed.apps["store-2"].port, protocol="tcp"))
    assert await bed.dial(OUTSIDE) == "store-2"


async def test_an_intention_says_who_may_call_it(bed: Bed) -> None:
    await bed.apply(external(bed.apps["spare-1"].port))
    intention = Intention("web", OUTSIDE, Action.DENY)
    await bed.consul.intentions.put(intention)
    try:

        async def refused() -> str | None:
            answer = await bed.call(service=OUTSIDE)
            return answer.text if answer.status == 403 else None

        assert f"web may not call {OUTSIDE}" in await until("web is refused", refused)
        assert (await bed.call(service=OUTSIDE, caller="admin")).status == 200
    finally:
        await bed.consul.intentions.delete(intention.source, intention.destination)

    async def allowed() -> bool | None:
        return (await bed.call(service=OUTSIDE)).status == 200 or None

    await until("web is allowed again", allowed)
