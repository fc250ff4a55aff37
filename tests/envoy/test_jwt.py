"""Token filters: every provider verifies, none rejects."""

from __future__ import annotations

from mesh.envoy import jwt
from mesh.model.intentions import ClaimMatch, JwtLocation, JwtProvider, JwtRequirement


def _cluster(provider: JwtProvider) -> str:
    return f"jwks:{provider.name}"


def test_a_remote_provider_is_fetched_ahead_and_outlives_its_server() -> None:
    provider = JwtProvider(
        "okta",
        "https://okta.test",
        remote_uri="https://okta.test/keys",
        remote_timeout=2.5,
        remote_cache=60,
        audiences=("mesh",),
        locations=(
            JwtLocation(header="x-token", value_prefix="Bearer "),
            JwtLocation(query_param="token"),
            JwtLocation(cookie="session"),
        ),
        forward=True,
        forward_header="x-payload",
        forward_padded=True,
        clock_skew=5,
    )

    config = jwt.authentication([provider], _cluster).providers["okta"]

    assert config.remote_jwks.http_uri.cluster == "jwks:okta"
    assert config.remote_jwks.http_uri.timeout.ToMilliseconds() == 2500
    assert config.remote_jwks.cache_duration.seconds == 60
    assert config.remote_jwks.async_fetch.fast_listener
    assert [(each.name, each.value_prefix) for each in config.from_headers] == [
        ("x-token", "Bearer ")
    ]
    assert list(config.from_params) == ["token"]
    assert list(config.from_cookies) == ["session"]
    assert list(config.audiences) == ["mesh"]
    assert config.forward
    assert config.forward_payload_header == "x-payload"
    assert config.pad_forward_payload_header
    assert config.clock_skew_seconds == 5


def test_a_local_key_set_is_inline() -> None:
    provider = JwtProvider("corp", "https://corp.test", jwks='{"keys":[]}')

    config = jwt.authentication([provider], _cluster).providers["corp"]

    assert config.local_jwks.inline_string == '{"keys":[]}'
    assert not config.HasField("remote_jwks")


def test_every_provider_tolerates_a_missing_or_failed_token() -> None:
    providers = [JwtProvider(name, f"https://{name}", jwks="{}") for name in ("b", "a")]

    (rule,) = jwt.authentication(providers, _cluster).rules

    checks = rule.requires.requires_all.requirements
    assert [check.requires_any.requirements[0].provider_name for check in checks] == ["a", "b"]
    assert all(
        check.requires_any.requirements[1].HasField("allow_missing_or_failed") for check in checks
    )


def test_a_token_shows_its_issuer_and_its_claims() -> None:
    requirement = JwtRequirement("okta", (ClaimMatch(("perms", "role"), "admin"),))

    issuer, claim = jwt.token(requirement, "https://okta.test")

    assert [step.key for step in issuer.path] == ["jwt_payload_okta", "iss"]
    assert issuer.value.string_match.exact == "https://okta.test"
    assert [step.key for step in claim.path] == ["jwt_payload_okta", "perms", "role"]
    assert len(claim.value.or_match.value_matchers) == 2
