"""What tokens of Consul must be able to do for ``mesh apply``, ``get``, ``diff`` and ``delete``."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cli.conftest import Mesh
from tests.cli.documents import SLOW
from tests.realconsul import BOOTSTRAP_TOKEN, RealConsul


def limited(legacy: RealConsul, name: str, rules: str) -> dict[str, str]:
    """Return the variables of a token that may do what ``rules`` say."""
    place = urlsplit(legacy.url)
    answer: dict[str, Any] = {}
    for path, body in (
        ("/v1/acl/policy", {"Name": name, "Rules": rules}),
        ("/v1/acl/token", {"Policies": [{"Name": name}]}),
    ):
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
        headers = {"X-Consul-Token": BOOTSTRAP_TOKEN}
        connection.request("PUT", path, json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
    return {"CONSUL_HTTP_ADDR": legacy.url, "CONSUL_HTTP_TOKEN": answer["SecretID"]}


def test_without_the_right_nothing_is_applied(
    mesh: Mesh, legacy: RealConsul, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(SLOW)
    result = mesh("apply", "-f", str(file), env={"CONSUL_HTTP_ADDR": legacy.url})
    assert result.exit_code == 3
    assert "lacks write on key mesh/policies/" in result.output
    help_text = mesh("apply", "--help").output
    assert 'key_prefix "mesh/policies/"' in help_text
    assert "write for" in help_text


def test_the_rights_that_the_help_names_suffice(
    mesh: Mesh, legacy: RealConsul, tmp_path: Path
) -> None:
    rules = (
        'key_prefix "mesh/policies/" { policy = "%s" }'
        'key_prefix "mesh/policy-history/" { policy = "%s" }'
        'key_prefix "mesh/mirror/policies/" { policy = "read" }'
    )
    write = rules % ("write", "write") + 'service_prefix "" { policy = "read" }'
    may_write = limited(legacy, "apply-w", write)
    may_read = limited(legacy, "apply-r", rules % ("read", "read"))
    file = tmp_path / "p.yaml"
    file.write_text(SLOW)
    assert mesh("apply", "-f", str(file), env=may_read).exit_code == 3
    assert mesh("apply", "-f", str(file), env=may_write).exit_code == 0
    assert mesh("get", "timeout", "slow", env=may_read).exit_code == 0
    assert mesh("get", "timeout", "slow", "--version", "1", env=may_read).exit_code == 0
    assert mesh("diff", "-f", str(file), env=may_read).exit_code == 0
    assert mesh("delete", "-f", str(file), env=may_read).exit_code == 3
    assert "deleted" in mesh("delete", "-f", str(file), env=may_write).output


def test_who_may_not_see_is_not_told_that_nothing_is_there(
    mesh: Mesh, legacy: RealConsul, files: Path
) -> None:
    env = limited(legacy, "blind", 'node_prefix "" { policy = "read" }')
    for words in (["get"], ["diff", "-f", str(files)], ["delete", "timeout", "slow"]):
        result = mesh(*words, env=env)
        assert result.exit_code == 3
        assert "on key mesh/policies/" in result.output


def test_who_may_only_read_is_told_each_right_that_writing_takes(
    mesh: Mesh, legacy: RealConsul, files: Path
) -> None:
    env = limited(legacy, "reader", 'key_prefix "mesh/" { policy = "read" }')
    assert mesh("get", env=env).exit_code == 0
    result = mesh("apply", "-f", str(files), env=env)
    assert result.exit_code == 3
    assert "lacks write on key mesh/policies/, write on key mesh/policy-history/" in result.output
    assert "read on service" in result.output
    assert 'remedy: Add to its policy: key_prefix "mesh/policies/"' in result.output
