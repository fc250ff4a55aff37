"""The settings of the rate limit service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mesh.config.ratelimit import load
from mesh.config.types import HostPort
from mesh.model.violations import InvalidInputError


def test_nothing_given_counts_in_memory_on_loopback() -> None:
    settings = load()
    assert settings.redis is None
    assert settings.listen.grpc == HostPort("127.0.0.1", 5681)
    assert settings.listen.health == HostPort("127.0.0.1", 5682)
    assert settings.response_headers == "ratelimit"


def test_file_environment_and_command_line_stand_over_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ratelimit.toml"
    file.write_text('[redis]\nurl = "redis://file"\ntimeout = "20ms"\nmax_connections = 4\n')
    monkeypatch.setenv("MESH_RATELIMIT__REDIS__MAX_CONNECTIONS", "8")
    monkeypatch.setenv("MESH_RATELIMIT__RESPONSE_HEADERS", "none")
    settings = load(file, {"redis": {"url": "rediss://option:6380/2"}})
    assert settings.redis is not None
    assert settings.redis.url == "rediss://option:6380/2"
    assert settings.redis.timeout == timedelta(milliseconds=20)
    assert settings.redis.max_connections == 8
    assert settings.response_headers == "none"


@pytest.mark.parametrize(
    "url",
    [
        "http://redis",
        "redis://",
        "redis://:s3cr3t@redis",
        "redis://ann@redis",
        "redis://redis/x",
        "redis://redis?ssl_cert_reqs=none",
    ],
)
def test_only_a_plain_redis_is_one_and_no_password_is_repeated(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(overrides={"redis": {"url": url}})
    assert [each.path for each in caught.value.violations] == ["redis.url"]
    assert "s3cr3t" not in str(caught.value)


def test_every_contradiction_is_told(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    redis = {"url": "redis://redis", "username": "mesh", "ca_file": str(ca)}
    with pytest.raises(InvalidInputError) as caught:
        load(overrides={"redis": redis, "listen": {"health": "127.0.0.1:5681"}})
    assert {each.path for each in caught.value.violations} == {
        "redis.password_file",
        "redis.ca_file",
        "listen.health",
    }
    both = {"redis": {"url": "redis://redis"}, "memory": {"max_counters": 5}}
    with pytest.raises(InvalidInputError, match="remove one of the two"):
        load(overrides=both)
