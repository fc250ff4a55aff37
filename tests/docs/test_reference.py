"""The reference pages say what the program does today."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from mesh.config.capture import CaptureSettings
from mesh.config.proxy import ProxySettings
from mesh.config.ratelimit import RateLimitSettings
from mesh.config.zone import ZoneSettings
from tests.docs import generate, meanings, settings_page
from tests.docs.places import REFERENCE


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_is_current(name: str) -> None:
    file = REFERENCE / name
    assert file.read_text(encoding="utf-8") == generate.text(name), (
        f"{file} is out of date: run `python -m tests.docs.generate`"
    )


@pytest.mark.parametrize(
    ("model", "meaning"),
    [
        (ZoneSettings, meanings.ZONE),
        (ProxySettings, meanings.PROXY),
        (RateLimitSettings, meanings.RATELIMIT),
        (CaptureSettings, meanings.CAPTURE),
    ],
)
def test_every_setting_has_a_meaning(model: type[BaseModel], meaning: Mapping[str, str]) -> None:
    assert set(settings_page.names(model)) == set(meaning)
