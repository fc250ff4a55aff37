"""What Envoy is answered on the agent's socket, and how often the log hears of it."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus

import pytest

from mesh.agent import http
from mesh.agent.certificates import Certificates, serve
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.envoy.files import CERTIFICATES_SOCKET
from mesh.model.certificates import CertificateSource, Keep
from tests.agent.certificates.fakevault import FakeVault
from tests.waiting import until

SHOP = CertificateSource(Keep.KV, "secret", "shop")


async def test_envoy_is_answered_and_a_refusal_is_told_once(
    settings: AgentSettings,
    state: StateDir,
    vault: FakeVault,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain, key = vault.leaf("shop.test")
    vault.keep("shop", chain, key)
    certificates = Certificates(dataclasses.replace(settings, vault=vault.settings), state, clock)
    server = http.Server(unix_socket=state.socket(CERTIFICATES_SOCKET))

    async def asked(*names: str, version: str = "") -> http.Response:
        question = {"resource_names": names, "version_info": version}
        return await http.request(server, "POST", "/v3/discovery:secrets", body=question)

    def told() -> list[str]:
        return [vars(one)["reason"] for one in caplog.records if "reason" in vars(one)]

    async with Tasks("serving") as tasks:
        tasks.spawn("serve", serve(certificates, state), forever=True)
        await until((state.path / CERTIFICATES_SOCKET).exists)
        for _ in range(3):
            assert (await asked("identity")).status == HTTPStatus.BAD_REQUEST
            assert (await asked("a", "b")).status == HTTPStatus.BAD_REQUEST
        one, two = told()
        assert one == "'identity' names no certificate in Vault"
        assert two.startswith("not a question for one secret: ")

        async def answered() -> bool:
            return (await asked(SHOP.name)).ok

        await until(answered)
        found = (await asked(SHOP.name)).json()
        (resource,) = found["resources"]
        assert resource["name"] == SHOP.name
        shown = resource["tls_certificate"]
        assert shown["certificate_chain"]["inline_string"] == chain
        assert shown["private_key"]["inline_string"] == key
        same = await asked(SHOP.name, version=found["version_info"])
        assert same.status == HTTPStatus.NOT_MODIFIED
    assert len(told()) == 2
