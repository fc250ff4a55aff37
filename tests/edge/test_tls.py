"""Clients that speak TLS: certificates from Vault by name, renewed under load; passing TLS on."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mesh.aio.tasks import Tasks
from mesh.demo.estate import HOST
from mesh.demo.load import Load
from mesh.model.intentions import Action
from tests.edge.bed import Bed, gateway
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SHOP = {"hostnames": ["shop.test"], "vaultKv": {"path": "shop/tls"}}
API = {"hostnames": ["*.api.test"], "vaultPki": {"mount": "edge-pki", "role": "edge", "ttl": "1h"}}


async def test_certificates_from_both_stores_are_shown_by_name(bed: Bed) -> None:
    serial = bed.vault.put("shop/tls", "shop.test")
    await bed.apply(gateway(_secure(bed, SHOP, API)))
    clients = bed.vault.clients
    answer = await bed.answered(200, host="shop.test", port="https", tls=clients)
    assert answer.instance == "web-1"
    assert answer.asked["headers"]["x-forwarded-proto"] == "https"
    await _shows(bed, serial)
    assert (await bed.answered(200, host="v1.api.test", port="https", tls=clients)).status == 200
    leaf = await _shown(bed, "v1.api.test")
    assert "*.api.test" in leaf.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.DNSName)
    # A name that nobody has a certificate for gets none.
    with pytest.raises(ConnectionResetError):
        await _shown(bed, "other.test")
    assert (await bed.readiness()) == "ready\n"
    kept = sorted(bed.state.glob("certificate-*.json"))
    assert len(kept) == 2
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    # The key is on the gateway's host, and nowhere else that the mesh writes to.
    secret = bed.vault.server.read("secret/data/shop/tls").data["data"]["private_key"]
    line = secret.splitlines()[1].encode()
    holders = {file for file in _everything(bed.estate.directory) if line in file.read_bytes()}
    assert len(holders) == 1
    assert holders < set(kept)


async def test_http_2_and_the_version_of_tls(bed: Bed) -> None:
    bed.vault.put("shop/tls", "shop.test")
    listener = _secure(bed, SHOP)
    listener["tls"]["minimumVersion"] = "1.3"
    await bed.apply(gateway(listener))
    clients = bed.vault.clients
    await bed.answered(200, host="shop.test", port="https", tls=clients)
    clients.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(
        HOST, bed.ports["https"], ssl=clients, server_hostname="shop.test"
    )
    found = writer.get_extra_info("ssl_object")
    assert (found.selected_alpn_protocol(), found.version()) == ("h2", "TLSv1.3")
    writer.close()
    old = bed.vault.clients
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await asyncio.open_connection(
            HOST, bed.ports["https"], ssl=old, server_hostname="shop.test"
        )


async def test_a_new_certificate_is_taken_up_and_no_request_fails(bed: Bed) -> None:
    first = bed.vault.put("shop/tls", "shop.test")
    insecure = {"port": bed.ports["http"], "protocol": "HTTP", "routes": [{"service": "web"}]}
    await bed.apply(gateway(_secure(bed, SHOP), insecure))
    clients = bed.vault.clients
    await bed.answered(200, host="shop.test", port="https", tls=clients)
    await bed.answered(200, host="any.test")
    await _shows(bed, first)
    failed: list[str] = []
    stop = asyncio.Event()

    async def calling() -> None:
        while not stop.is_set():
            try:
                answer = await bed.call(host="shop.test", port="https", tls=clients)
                if answer.status != 200:
                    failed.append(str(answer.status))
            except OSError as error:
                failed.append(repr(error))

    async with Load(f"http://{HOST}:{bed.ports['http']}/") as load, Tasks("calls") as tasks:
        caller = tasks.spawn("client", calling())
        second = bed.vault.put("shop/tls", "shop.test")
        await _shows(bed, second)
        await load.reach(20)
        stop.set()
        await caller
    assert failed == []
    assert load.tally.failed == 0, str(load.tally)


async def test_a_signed_certificate_is_renewed_at_half_of_its_life(bed: Bed) -> None:
    # A role's own time: the shortest that a policy may ask for is a minute.
    short = {**bed.vault.server.read("edge-pki/roles/edge").data, "ttl": "20s", "max_ttl": "20s"}
    bed.vault.server.write("edge-pki/roles/edge", short)
    try:
        soon = {"hostnames": ["soon.test"], "vaultPki": {"mount": "edge-pki", "role": "edge"}}
        listener = {**_secure(bed, soon), "routes": [{"service": "web"}]}
        await bed.apply(gateway(listener))
        clients = bed.vault.clients
        await bed.answered(200, host="soon.test", port="https", tls=clients)
        first = await _shown(bed, "soon.test")

        async def renewed() -> bool | None:
            assert (await bed.call(host="soon.test", port="https", tls=clients)).status == 200
            return (await _shown(bed, "soon.test")).serial_number != first.serial_number or None

        await until("it is renewed", renewed, patience=30)
        now = await _shown(bed, "soon.test")
        assert now.public_key() != first.public_key()
        # Half of twenty seconds, less up to a tenth of them; the role counts in whole ones.
        between = now.not_valid_before_utc - first.not_valid_before_utc
        assert timedelta(seconds=7) <= between <= timedelta(seconds=15)
    finally:
        long = {**short, "ttl": 0, "max_ttl": "1h"}
        bed.vault.server.write("edge-pki/roles/edge", long)


async def test_a_missing_certificate_is_told_and_other_names_are_served(bed: Bed) -> None:
    bed.vault.put("shop/tls", "shop.test")
    absent = {"hostnames": ["new.test"], "vaultKv": {"path": "shop/new"}}
    closed = {"hostnames": ["own.test"], "vaultKv": {"path": "other/tls"}}
    await bed.apply(gateway(_secure(bed, SHOP, absent, closed)))
    clients = bed.vault.clients
    await bed.answered(200, host="shop.test", port="https", tls=clients)

    async def told() -> str | None:
        found = await bed.readiness()
        return found if "secret/shop/new:" in found and "secret/other/tls:" in found else None

    said = await until("readiness tells of both", told)
    assert (
        "no certificate from Vault's secret/shop/new: Vault's secret/shop/new: Vault answered "
        "404" in said
    )
    assert 'The gateway\'s policy needs read on "secret/data/other/tls".' in said
    bed.vault.put("shop/new", "new.test")
    await bed.answered(200, host="new.test", port="https", tls=clients)


async def test_an_entry_with_tls_is_closed_until_a_policy_names_a_certificate(bed: Bed) -> None:
    bed.vault.put("shop/tls", "shop.test")
    port = bed.ports["https"]
    secure = {
        "Port": port,
        "Protocol": "http",
        "Services": [{"Name": "web", "Hosts": ["shop.test"]}],
    }
    await bed.entry(secure, TLS={"Enabled": True})

    async def told() -> bool | None:
        _, output, _ = await bed.estate.mesh_result(["check", "-o", "json"])
        return "has TLS and no certificate, so that it is closed" in output or None

    await until("mesh check tells of it", told)
    # What was said after the entry is served: the entry has come, and its port is closed.
    later = {"port": bed.ports["spare"], "protocol": "HTTP", "routes": [{"service": "web"}]}
    await bed.apply(gateway(later))
    await bed.answered(200, host="shop.test", port="spare")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)
    listener = {"port": port, "protocol": "HTTPS", "tls": {"certificates": [SHOP]}}
    await bed.apply(gateway(later, listener))
    answer = await bed.answered(200, host="shop.test", port="https", tls=bed.vault.clients)
    assert answer.instance == "web-1"


async def test_it_starts_again_while_vault_is_sealed(bed: Bed) -> None:
    serial = bed.vault.put("shop/tls", "shop.test")
    await bed.apply(gateway(_secure(bed, SHOP)))
    clients = bed.vault.clients
    await bed.answered(200, host="shop.test", port="https", tls=clients)
    await _shows(bed, serial)
    bed.vault.server.seal()
    try:
        await bed.restart()
        answer = await bed.answered(200, host="shop.test", port="https", tls=clients)
        assert answer.instance == "web-1"
        await _shows(bed, serial)
    finally:
        bed.vault.server.unseal()


async def test_http_is_sent_to_https(bed: Bed) -> None:
    redirect = {"port": bed.ports["http"], "protocol": "HTTP", "redirectToPort": 443}
    await bed.apply(gateway(redirect))
    moved = await bed.answered(301, "/a?b=c", host="shop.test")
    assert moved.headers["location"] == "https://shop.test:443/a?b=c"


async def test_tls_is_passed_on_unopened_by_name(bed: Bed) -> None:
    names = [{"hostnames": ["db.test"], "service": "store"}]
    await bed.apply(gateway({"port": bed.ports["tls"], "protocol": "TLS", "routes": names}))

    async def said(host: str) -> bytes:
        """Begin TLS by hand and return what the service says: its name, in plain text."""
        context, incoming, outgoing = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=host)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        reader, writer = await asyncio.open_connection(HOST, bed.ports["tls"])
        writer.write(outgoing.read())
        try:
            async with asyncio.timeout(5):
                return await reader.read(64)
        except OSError:
            return b""
        finally:
            writer.close()

    async def served() -> bool | None:
        try:
            return (await said("db.test")).startswith(b"store-1\n") or None
        except OSError:
            return None

    await until("the service of the name answers", served)
    assert await said("other.test") == b""
    await bed.intention(Action.DENY, "store")

    async def refused() -> bool | None:
        return await said("db.test") == b"" or None

    await until("it is refused", refused)

    async def logged() -> bool | None:
        return "mesh: edge may not call store" in _log(bed) or None

    await until("the log says why", logged)


def _secure(bed: Bed, *certificates: object) -> dict[str, dict[str, object]]:
    routes = [{"service": "web"}, {"service": "api", "hostnames": ["*.api.test"]}]
    said: dict[str, object] = {
        "port": bed.ports["https"],
        "protocol": "HTTPS",
        "tls": {"certificates": list(certificates)},
        "routes": routes,
    }
    return said  # type: ignore[return-value]


async def _shown(bed: Bed, host: str) -> x509.Certificate:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        HOST, bed.ports["https"], ssl=context, server_hostname=host
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der)


async def _shows(bed: Bed, serial: str) -> None:
    async def shown() -> bool | None:
        return f"{(await _shown(bed, 'shop.test')).serial_number:x}" == serial or None

    await until("shop.test has the certificate", shown, patience=30)


def _everything(directory: Path) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file()]


def _log(bed: Bed) -> str:
    return "".join(
        file.read_text(errors="replace")
        for file in (*bed.state.glob("*.log"), bed.estate.directory / "edge.log")
        if file.exists()
    )
