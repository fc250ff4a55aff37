"""Which gateway `mesh gateway` runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app

_SETTINGS = 'zone_api: ["zone:5678"]\nstate_dir: {home}\njoin_token_file: {home}/token\n'


@pytest.mark.parametrize(
    ("role", "options", "said"),
    [
        ("zone-gateway", [], "the configuration is valid"),
        ("zone-gateway", ["--egress"], "the configuration is valid"),
        ("sidecar", [], "say which gateway this is"),
        (None, [], "say which gateway this is"),
        (None, ["--ingress", "--egress"], "say which gateway this is"),
        ("zone-gateway", ["--name", "edge"], "leave --name out"),
    ],
)
def test_the_role_is_an_option_or_a_setting(
    tmp_path: Path, role: str | None, options: list[str], said: str
) -> None:
    file = tmp_path / "gateway.yaml"
    named = f"role: {role}\n" if role else ""
    file.write_text(named + _SETTINGS.format(home=tmp_path))
    words = ["gateway", "--config", str(file), *options, "--check-config"]
    assert said in CliRunner().invoke(app, words).output
