"""TLS between proxies: 1.3 only, post-quantum hybrid first, both sides authenticated.

The certificate comes from the agent's files.  What is accepted of the peer is an exact SPIFFE
id towards an upstream, and a pattern on the inbound side; the pattern travels as an SDS secret
of its own, because a new secret takes effect for new handshakes without draining a connection.

Sources: https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret and
``envoy.extensions.transport_sockets.tls.v3``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import (
    common_pb2,
    secret_pb2,
    tls_pb2,
    tls_spiffe_validator_config_pb2,
)

from mesh.envoy import outside_files
from mesh.envoy.files import (
    BUNDLE_FILE,
    BUNDLE_SDS,
    BUNDLE_SECRET,
    IDENTITY_SDS,
    IDENTITY_SECRET,
    SYSTEM_ROOTS,
    WATCHED_DIRECTORY,
)
from mesh.envoy.proto import is_ip, typed

CURVES: Final = ("X25519MLKEM768", "X25519", "P-256")
_SOCKET: Final = "envoy.transport_sockets.tls"
_BY_TRUST_DOMAIN: Final = "envoy.tls.cert_validator.spiffe"
_NOBODY_ELSE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})


def upstream(
    *, sni: str, identity: str, alpn: tuple[str, ...] = (), roots_secret: str = ""
) -> base_pb2.TransportSocket:
    """Dial ``sni`` as ourselves and accept nobody but the SPIFFE URI ``identity``.

    What stands behind it must be our bundle, or what the secret ``roots_secret`` holds, sent over
    ADS.
    """
    common = _common(alpn)
    combined = common.combined_validation_context
    matcher = combined.default_validation_context.match_typed_subject_alt_names.add()
    matcher.san_type = common_pb2.SubjectAltNameMatcher.URI
    matcher.matcher.exact = identity
    roots = combined.validation_context_sds_secret_config
    if roots_secret:
        roots.name = roots_secret
        roots.sds_config.CopyFrom(from_ads())
    else:
        roots.CopyFrom(_from_file(BUNDLE_SECRET, BUNDLE_SDS))
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=sni)
    # A resumed session is not verified again; a withdrawn identity must be.
    context.max_session_keys.value = 0
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=typed(context))


def downstream(*, peers_secret: str, alpn: tuple[str, ...] = ()) -> base_pb2.TransportSocket:
    """Demand a certificate that satisfies the secret ``peers_secret``, sent over ADS."""
    common = _common(alpn)
    peers = common.validation_context_sds_secret_config
    peers.name = peers_secret
    peers.sds_config.CopyFrom(from_ads())
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    context.disable_stateless_session_resumption = True
    context.disable_stateful_session_resumption = True
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=typed(context))


def public(host: str) -> base_pb2.TransportSocket:
    """Dial ``host`` outside the mesh and believe what the operating system believes."""
    return external(sni=host)


def external(
    *,
    sni: str,
    names: Sequence[str] = (),
    ca: str = "",
    ca_file: str = "",
    certificate: tuple[str, str] | None = None,
    verify: bool = True,
    alpn: tuple[str, ...] = (),
) -> base_pb2.TransportSocket:
    """Dial a server outside the mesh, which is who it says if it has a certificate of ``names``.

    An empty ``sni`` is each endpoint's own DNS name, and so are ``names``.  ``ca`` is PEM, and
    ``ca_file`` the name of a file of the gateway's host; without either the operating system
    decides whom to believe.  ``certificate`` is a pair of such names.  Without ``verify`` anybody
    is believed.
    """
    context = tls_pb2.UpstreamTlsContext(sni=sni, auto_host_sni=not sni)
    common = context.common_tls_context
    common.alpn_protocols.extend(alpn)
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    if certificate is not None:
        pair = outside_files.pair(*certificate)
        common.tls_certificate_sds_secret_configs.append(_from_zone(pair))
    if verify:
        validation = common.validation_context
        if ca_file:
            combined = common.combined_validation_context
            validation = combined.default_validation_context
            # Required, even if the names are verified otherwise.
            validation.SetInParent()
            believed = _from_zone(outside_files.authority(ca_file))
            combined.validation_context_sds_secret_config.CopyFrom(believed)
        elif ca:
            validation.trusted_ca.inline_string = ca
        else:
            validation.trusted_ca.filename = SYSTEM_ROOTS
        context.auto_sni_san_validation = not names
        for name in names:
            matcher = validation.match_typed_subject_alt_names.add()
            matcher.san_type = _kind_of(name)
            matcher.matcher.exact = name
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=typed(context))


def roots(name: str, bundle: str) -> secret_pb2.Secret:
    """Return the secret that holds ``bundle`` (PEM), to be believed where it is named."""
    secret = secret_pb2.Secret(name=name)
    secret.validation_context.trusted_ca.inline_string = bundle
    return secret


def peers(
    name: str,
    *,
    identity_regex: str,
    trust_domain: str = "",
    others: Mapping[str, tuple[str, str]] = _NOBODY_ELSE,
) -> secret_pb2.Secret:
    """Accept peers of our bundle whose SPIFFE URI matches ``identity_regex`` (RE2, whole).

    ``others`` are further trust domains than our own ``trust_domain``: the roots of each (PEM),
    and an expression likewise.  A certificate is then held to the roots of the trust domain that
    stands in its own SPIFFE id, and to no other's.
    """
    secret = secret_pb2.Secret(name=name)
    context = secret.validation_context
    # With a validator of trust domains, too: that this file changes has Envoy read it again.
    context.trusted_ca.filename = BUNDLE_FILE
    context.watched_directory.path = WATCHED_DIRECTORY
    for expression in (identity_regex, *(each for _, each in others.values())):
        matcher = context.match_typed_subject_alt_names.add()
        matcher.san_type = common_pb2.SubjectAltNameMatcher.URI
        matcher.matcher.safe_regex.regex = expression
    if others:
        validator = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
        own = validator.trust_domains.add(name=trust_domain)
        own.trust_bundle.filename = BUNDLE_FILE
        for domain, (bundle, _) in sorted(others.items()):
            validator.trust_domains.add(name=domain).trust_bundle.inline_string = bundle
        context.custom_validator_config.name = _BY_TRUST_DOMAIN
        context.custom_validator_config.typed_config.CopyFrom(typed(validator))
    return secret


def authority_of(file: str) -> secret_pb2.Secret:
    """Return the secret with the authorities in ``file``, of an egress gateway's host."""
    secret = secret_pb2.Secret(name=outside_files.authority(file))
    context = secret.validation_context
    context.trusted_ca.filename = outside_files.path(file)
    context.watched_directory.path = _directory(file)
    return secret


def certificate_of(certificate: str, key: str) -> secret_pb2.Secret:
    """Return the secret with a certificate and its key, files of an egress gateway's host."""
    secret = secret_pb2.Secret(name=outside_files.pair(certificate, key))
    found = secret.tls_certificate
    found.certificate_chain.filename = outside_files.path(certificate)
    found.private_key.filename = outside_files.path(key)
    found.watched_directory.path = _directory(certificate)
    return secret


def from_ads() -> config_source_pb2.ConfigSource:
    """Point at the stream the proxy already has."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.ApiVersion.V3)
    source.ads.SetInParent()
    return source


def _directory(file: str) -> str:
    return outside_files.path(file).rpartition("/")[0]


def _from_zone(name: str) -> Any:
    config = secret_pb2.SdsSecretConfig(name=name)
    config.sds_config.CopyFrom(from_ads())
    return config


def _kind_of(name: str) -> Any:
    """Return what kind of subject alternative name ``name`` is."""
    if "://" in name:
        return common_pb2.SubjectAltNameMatcher.URI
    if is_ip(name):
        return common_pb2.SubjectAltNameMatcher.IP_ADDRESS
    return common_pb2.SubjectAltNameMatcher.DNS


def _common(alpn: tuple[str, ...]) -> Any:
    common = tls_pb2.CommonTlsContext(alpn_protocols=alpn)
    # Envoy's default maximum on the upstream side is TLS 1.2.
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_params.ecdh_curves.extend(CURVES)
    common.tls_certificate_sds_secret_configs.append(_from_file(IDENTITY_SECRET, IDENTITY_SDS))
    return common


def _from_file(name: str, path: str) -> Any:
    config = secret_pb2.SdsSecretConfig(name=name)
    config.sds_config.resource_api_version = config_source_pb2.ApiVersion.V3
    config.sds_config.path_config_source.path = path
    config.sds_config.path_config_source.watched_directory.path = WATCHED_DIRECTORY
    return config
