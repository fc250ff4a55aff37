"""Certificates: who gets one, who does not, and what he is told."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import uuid
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from mesh.aio.clock import SystemClock
from mesh.ca import join_tokens
from mesh.ca.builtin import builtin_issuer
from mesh.ca.join_tokens import Grant
from mesh.ca.local import LocalIssuer
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.controlplane.enrolment import Enrolment, Holder
from mesh.controlplane.metrics import Metrics
from mesh.controlplane.rate_limit import Rate, RateLimiter
from mesh.controlplane.trust import Trust
from mesh.model.identity import ZoneId
from mesh.world.snapshot import World
from tests.controlplane.conftest import ZONE, StartApi
from tests.controlplane.zones import ADMIN_TOKEN, PLENTY, ApiServer, Host


async def test_a_join_token_gets_a_certificate_for_exactly_its_service(api: ApiServer) -> None:
    host = Host("web")
    reply = await api.enrol(host, await api.mint(service="web", ttl_seconds=60))
    assert reply.status == 200
    leaf = x509.load_pem_x509_certificate(reply.body["certificate_chain"].encode())
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in san] == ["spiffe://mesh.test/ns/default/dc/dc1/svc/web"]
    assert reply.body["bundle"] == api.parts.trust.bundle().pem
    assert reply.body["xds"] == ["127.0.0.1:5679"]
    assert (reply.body["zone"], reply.body["trust_domain"]) == ("dc1", "mesh.test")


async def test_every_certificate_leaves_one_audit_line_without_the_token(
    api: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.audit")
    token = await api.mint(service="web")
    await api.enrol(Host("web"), token)
    (line,) = [record for record in caplog.records if record.message == "certificate issued"]
    fields = line.__dict__
    assert fields["identity"] == "spiffe://mesh.test/ns/default/dc/dc1/svc/web"
    assert (fields["proof"], fields["source"]) == ("join-token", "127.0.0.1")
    assert fields["proof_id"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    assert fields["serial"]
    assert fields["not_after"]
    assert not any(token in str(record.__dict__) for record in caplog.records)


async def test_a_prefix_token_covers_services_that_begin_so_and_no_others(api: ApiServer) -> None:
    token = await api.mint(prefix="web-", reusable=True)
    assert (await api.enrol(Host("web-1"), token)).status == 200
    assert (await api.enrol(Host("web-2"), token)).status == 200
    reply = await api.enrol(Host("api"), token)
    assert reply.status == 403
    assert "is for 'web-*', not for 'api'" in reply.body["error"]


async def test_a_token_is_bound_to_the_first_key_that_uses_it(api: ApiServer) -> None:
    token = await api.mint(service="web")
    first = Host("web")
    assert (await api.enrol(first, token)).status == 200
    assert (await api.enrol(first, token)).status == 200
    reply = await api.enrol(Host("web"), token)
    assert reply.status == 403
    assert "already used with another key" in reply.body["error"]
    assert "--reusable" in reply.body["remedy"]


async def test_of_two_keys_that_race_with_one_token_at_two_zones_exactly_one_wins(
    start_api: StartApi,
) -> None:
    zones = [await start_api(), await start_api()]
    for _ in range(5):
        token = await zones[0].mint(service="web")
        replies = await asyncio.gather(
            *(zones[turn % 2].enrol(Host("web"), token) for turn in range(6))
        )
        assert sorted(reply.status for reply in replies) == [200, 403, 403, 403, 403, 403]


async def test_a_token_of_one_instance_is_good_at_another_with_a_signing_key_of_its_own(
    start_api: StartApi, tmp_path: Path
) -> None:
    other = builtin_issuer(tmp_path / "ca", ZONE)
    await other.start()
    try:
        one, two = await start_api(), await start_api(issuer=other)
        host = Host("web")
        assert (await two.enrol(host, await one.mint(service="web"))).status == 200
    finally:
        await other.close()


async def test_a_revoked_token_is_refused_even_to_its_own_key(api: ApiServer) -> None:
    token, unused = await api.mint(service="web"), await api.mint(service="web")
    host = Host("web")
    await api.enrol(host, token)
    for each in (token, unused):
        token_id = jwt.decode(each, options={"verify_signature": False})["jti"]
        reply = await api.call("DELETE", f"/v1/tokens/{token_id}", admin=ADMIN_TOKEN)
        assert reply.status == 200
        reply = await api.enrol(host, each)
        assert reply.status == 403
        assert "was revoked at" in reply.body["error"]


async def test_an_expired_token_still_serves_the_key_that_it_is_bound_to(
    api: ApiServer, issuer: LocalIssuer
) -> None:
    host = Host("web")
    token = await mint_in_the_past(issuer, ZONE)
    reply = await api.enrol(host, token)
    assert reply.status == 403
    assert "expired at" in reply.body["error"]
    assert "mesh token create" in reply.body["remedy"]

    fresh = await api.mint(service="web", ttl_seconds=1)
    await api.enrol(host, fresh)
    expires = jwt.decode(fresh, options={"verify_signature": False})["exp"]
    clock = SystemClock()
    while clock.now().timestamp() <= expires:
        await clock.sleep(0.05)
    assert (await api.enrol(host, fresh)).status == 200
    assert (await api.enrol(Host("web"), fresh)).status == 403


async def test_bad_tokens_are_refused_with_their_reason_and_remedy(
    api: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    foreign = builtin_issuer(tmp_path_factory.mktemp("foreign"), ZONE)
    await foreign.start()
    try:
        alien = await mint_in_the_past(foreign, ZONE)
    finally:
        await foreign.close()
    good = await api.mint(service="web")
    head, payload, signature = good.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for token, error in (
        ("nonsense", "is not a JWT"),
        (alien, "was not signed below the CA of mesh.test"),
        (f"{head}.{payload}.{flipped}", "has a signature that does not fit"),
        (await api.mint(service="api"), "is for 'api', not for 'web'"),
    ):
        reply = await api.enrol(Host("web"), token)
        assert reply.status == 403
        assert error in reply.body["error"]
        assert reply.body["remedy"]


async def test_bad_requests_for_certificates_tell_every_violation(api: ApiServer) -> None:
    host = Host("web")
    token = await api.mint(service="web")
    other = "spiffe://mesh.test/ns/default/dc/dc1/svc/api"
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - weakness is the point
    for csr, message in (
        (host.csr(host.identity.uri, other), "exactly one URI"),
        (host.csr(other), "the proof is for"),
        (host.csr(key=weak), "1024 bits"),
        ("garbage", "PKCS #10"),
    ):
        body = {"csr": csr, "service": "web", "proof": {"kind": "join-token", "token": token}}
        reply = await api.call("POST", "/v1/enrol", json=body)
        assert reply.status == 422
        assert message in str(reply.body["violations"])
    assert (await api.enrol(host, token)).status == 200, "no bad request may spend the token"


async def test_a_consul_token_serves_if_it_may_write_the_service(
    api: ApiServer, consul: ConsulClient
) -> None:
    identity = {"ServiceIdentities": [{"ServiceName": "web"}]}
    rules = 'service "web" { policy = "write" }'
    for body in (identity, {"Policies": [{"ID": await policy(consul, "web-write", rules)}]}):
        token = await consul_token(consul, body)
        assert (await api.enrol(Host("web"), token, kind="consul-token")).status == 200
        reply = await api.enrol(Host("api"), token, kind="consul-token")
        assert reply.status == 403
        assert "may not register 'api'" in reply.body["error"]
        assert 'service "api" { policy = "write" }' in reply.body["remedy"]


async def test_consul_tokens_that_prove_nothing_are_refused(
    api: ApiServer, consul: ConsulClient
) -> None:
    rules = 'service_prefix "" { policy = "read" }'
    reader = await consul_token(
        consul, {"Policies": [{"ID": await policy(consul, "read-all", rules)}]}
    )
    for token, error in (
        (reader, "may not register 'web'"),
        ("anonymous", "anonymous token proves nothing"),
        ("11111111-2222-3333-4444-555555555555", "does not know the token"),
    ):
        reply = await api.enrol(Host("web"), token, kind="consul-token")
        assert reply.status == 403
        assert error in reply.body["error"]
        assert reply.body["remedy"]


@pytest.mark.parametrize("blank", [" ", "\t", " \t "])
async def test_a_blank_consul_token_is_not_the_agents_own(
    api: ApiServer, consul: ConsulClient, blank: str
) -> None:
    """Consul takes a blank header for none, and acts with its agent's default token instead."""
    rules = 'service_prefix "" { policy = "write" }'
    body = {"Policies": [{"ID": await policy(consul, f"all-{uuid.uuid4()}", rules)}]}
    await default_token(consul, await consul_token(consul, body))
    try:
        reply = await api.enrol(Host("web"), blank, kind="consul-token")
    finally:
        await default_token(consul, "")
    assert reply.status == 403
    assert "is no Consul token" in reply.body["error"]


async def test_what_cannot_stand_in_a_header_is_no_consul_token(api: ApiServer) -> None:
    for token in ("a\r\nX-Consul-Token: b", "a b", "a\x00", "ä"):
        reply = await api.enrol(Host("web"), token, kind="consul-token")
        assert reply.status == 403
        assert "is no Consul token" in reply.body["error"]


async def test_a_holder_renews_with_a_fresh_key_and_only_for_himself(api: ApiServer) -> None:
    host = Host("web")
    await api.enrol(host, await api.mint(service="web"))
    fresh = Host("web")
    reply = await api.call(
        "POST", "/v1/renew", json={"csr": fresh.csr()}, credentials=host.credentials
    )
    assert reply.status == 200
    reply = await api.call(
        "POST", "/v1/renew", json={"csr": Host("api").csr()}, credentials=host.credentials
    )
    assert reply.status == 422
    assert "the proof is for spiffe://mesh.test/ns/default/dc/dc1/svc/web" in str(reply.body)


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_certificate_is_renewed_while_consul_is_away(
    api: ApiServer, issuer: LocalIssuer, caplog: pytest.LogCaptureFixture, *, frozen: bool
) -> None:
    """And before the agent, which waits five seconds for an answer, gives up."""
    host = Host("web")
    await api.enrol(host, await api.mint(service="web"))
    assert host.credentials is not None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1] if frozen else 9}"
        async with ConsulClient(ConsulAddress(address)) as nobody, asyncio.timeout(4):
            limiter = RateLimiter(PLENTY, PLENTY, SystemClock().monotonic())
            trust = Trust(issuer, lambda: World(ZONE.zone, ZONE.trust_domain))
            enrolment = Enrolment(ZONE, issuer, trust, nobody, limiter=limiter, metrics=Metrics())
            holder = Holder(host.identity, host.credentials.serial, host.csr(), "::1", "0" * 32)
            granted = await enrolment.renew(holder)
    assert granted.serial != host.credentials.serial
    assert "renewal not noted" in caplog.messages


async def test_nobody_renews_without_a_workloads_certificate(
    api: ApiServer, issuer: LocalIssuer
) -> None:
    for credentials in (None, await issuer.zone_identity()):
        reply = await api.call(
            "POST", "/v1/renew", json={"csr": Host("web").csr()}, credentials=credentials
        )
        assert reply.status == 401
        assert "enrol again" in reply.body["remedy"]


async def test_who_asks_too_often_is_told_when_to_come_back(start_api: StartApi) -> None:
    api = await start_api(per_source=Rate(0.5, 2))
    token = await api.mint(service="web", reusable=True)
    statuses = [await api.enrol(Host("web"), token) for _ in range(3)]
    assert [reply.status for reply in statuses] == [200, 200, 429]
    assert 1 <= int(statuses[-1].headers["Retry-After"]) <= 2


async def mint_in_the_past(issuer: LocalIssuer, zone: ZoneId) -> str:
    minted = join_tokens.mint(
        Grant(service="web"),
        zone=zone,
        signer=await issuer.zone_identity(),
        bundle=issuer.bundle(),
        token_id="0" * 32,
        now=SystemClock().now(),
        ttl=timedelta(0),
    )
    return minted.token


async def policy(consul: ConsulClient, name: str, rules: str) -> str:
    return await acl(consul, "policy", {"Name": name, "Rules": rules}, "ID")


async def consul_token(consul: ConsulClient, body: object) -> str:
    return await acl(consul, "token", body, "SecretID")


async def default_token(consul: ConsulClient, token: str) -> None:
    await consul.transport.request(
        "PUT",
        "/v1/agent/token/default",
        headers={"X-Consul-Token": consul.address.token},
        body=json.dumps({"Token": token}).encode(),
    )


async def acl(consul: ConsulClient, kind: str, body: object, field: str) -> str:
    reply = await consul.transport.request(
        "PUT",
        f"/v1/acl/{kind}",
        headers={"X-Consul-Token": consul.address.token},
        body=json.dumps(body).encode(),
    )
    return str(json.loads(reply.body)[field])
