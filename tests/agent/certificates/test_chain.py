"""What a client is shown behind the certificate that a PKI signed: all that lead to a root."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from mesh.agent import keys
from mesh.agent.settings import Vault as Settings
from mesh.agent.state import StateDir
from mesh.aio.clock import SystemClock
from mesh.model.certificates import CertificateSource, Keep
from tests.agent.certificates.fakevault import Link
from tests.agent.certificates.keeping import keeper
from tests.realvault import RealVault

ROOTED = {"common_name": "root", "ttl": "1h", "key_type": "ec"}
LONG = f"{'a' * 63}.test"
ROOT = Link.signed("root")
UPPER = Link.signed("upper", ROOT)
LOWER = Link.signed("lower", UPPER)
LEAF = Link.signed("leaf", LOWER)
OTHER = Link.signed("other", ROOT)
ELDER = Link.signed("elder")
CROSSED = Link.signed("root", ELDER, same=ROOT)


@pytest.mark.parametrize(
    ("issuers", "shown"),
    [
        ((LOWER, UPPER, ROOT), (LOWER, UPPER)),
        ((LOWER, UPPER), (LOWER, UPPER)),
        ((ROOT, UPPER, LOWER, OTHER, LOWER), (LOWER, UPPER)),
        ((LOWER,), (LOWER,)),
        ((), ()),
        # A root that an elder one vouches for is no root to who knows the elder alone.
        ((LOWER, UPPER, ROOT, CROSSED, ELDER), (LOWER, UPPER, CROSSED)),
    ],
)
def test_a_chain_leads_from_the_leaf_to_below_the_root(
    issuers: tuple[Link, ...], shown: tuple[Link, ...]
) -> None:
    question = {"do": "server chain", "leaf": LEAF.pem, "issuers": [one.pem for one in issuers]}
    said = keys.answer(question)["chain"]
    found = x509.load_pem_x509_certificates(said.encode())
    assert found == [LEAF.certificate, *(one.certificate for one in shown)]


def test_what_is_no_certificate_is_told() -> None:
    said = keys.answer({"do": "server chain", "leaf": LEAF.pem, "issuers": ["x"]})
    assert said["error"]


@pytest.mark.parametrize("rooted", [False, True])
async def test_a_real_pkis_intermediate_is_shown_whether_or_not_it_was_given_its_root(
    real: RealVault, state: StateDir, tmp_path: Path, *, rooted: bool
) -> None:
    top, low = f"top-{rooted}", f"low-{rooted}"
    for mount in (top, low):
        real.write(f"sys/mounts/{mount}", {"type": "pki"})
    root = real.write(f"{top}/root/generate/internal", ROOTED)
    asked = real.write(
        f"{low}/intermediate/generate/internal", {"common_name": "issuer", "key_type": "ec"}
    )
    signed = real.write(
        f"{top}/root/sign-intermediate", {"csr": asked.data["csr"], "format": "pem"}
    )
    issuer, above = signed.data["certificate"], root.data["certificate"]
    real.write(
        f"{low}/intermediate/set-signed",
        {"certificate": f"{issuer}\n{above}" if rooted else issuer},
    )
    real.write(f"{low}/roles/edge", {"allow_any_name": True, "key_type": "ec", "max_ttl": "10m"})
    token = tmp_path / "token"
    token.write_text(real.root_token)
    settings, clock = Settings(address=real.address, token_file=token), SystemClock()
    source = CertificateSource(Keep.PKI, low, "edge", ("shop.test",))
    async with keeper(settings, state, clock) as found:
        chain = (await found.held(source)).chain
    _, *shown = x509.load_pem_x509_certificates(chain.encode())
    assert shown == [x509.load_pem_x509_certificate(issuer.encode())]


@pytest.mark.parametrize("names", [(LONG,), (LONG, "short.test"), ("short.test",)])
async def test_a_real_pki_signs_names_too_long_to_be_a_common_name(
    real: RealVault, state: StateDir, tmp_path: Path, names: tuple[str, ...]
) -> None:
    mount = f"long-{len(names)}-{len(names[0])}"
    real.write(f"sys/mounts/{mount}", {"type": "pki"})
    real.write(f"{mount}/root/generate/internal", ROOTED)
    role = {"allow_any_name": True, "key_type": "ec", "max_ttl": "10m"}
    real.write(f"{mount}/roles/edge", role)
    token = tmp_path / "token"
    token.write_text(real.root_token)
    settings, clock = Settings(address=real.address, token_file=token), SystemClock()
    source = CertificateSource(Keep.PKI, mount, "edge", names)
    async with keeper(settings, state, clock) as found:
        if names == (LONG,):
            # The role insists on a common name until it is told not to.
            await found.complains(source, "the role needs require_cn=false")
            real.write(f"{mount}/roles/edge", {**role, "require_cn": False})
        chain = (await found.held(source)).chain
    leaf, *_ = x509.load_pem_x509_certificates(chain.encode())
    shown = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(shown.get_values_for_type(x509.DNSName)) == set(names)
    common = [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert common == (["short.test"] if "short.test" in names else [])
