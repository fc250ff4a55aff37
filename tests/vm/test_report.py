"""What is told of a host's services, and which line of a journal explains a failure."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.vm.report import COLUMNS, Seen, complaints, document, explanation, not_joined, row

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
UNIT = {
    "Id": "mesh-proxy@web.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "2",
}


def page(**changed: Any) -> dict[str, Any]:
    return {
        "service": "web",
        "id": "web-vm1",
        "version": "0.1.0",
        "ready": True,
        "missing": [],
        "draining": False,
        "serving": "live",
        "certificate": {
            "identity": "spiffe://mesh/ns/default/dc/east/svc/web",
            "serial": "1f",
            "not_after": (NOW + timedelta(hours=20, minutes=5)).isoformat(),
        },
        "zone": {"name": "east", "connected": True, "since": NOW.isoformat()},
        "last_known_good": NOW.isoformat(),
        "registration": {"with": "zone", "registered": True, "problem": ""},
        **changed,
    }


def seen(**changed: Any) -> Seen:
    return dataclasses.replace(Seen(service="web", unit=UNIT, page=page()), **changed)


def test_a_service_that_is_well() -> None:
    assert complaints(seen(), NOW) == ()
    assert dict(zip(COLUMNS, row(seen(capture=""), NOW), strict=True)) == {
        "service": "web",
        "unit": "active, enabled",
        "ready": "yes",
        "certificate until": "2026-06-02 08:05:00Z (in 20 h 05 min)",
        "zone": "east: connected since 2026-06-01 12:00:00Z",
        "last known good": "2026-06-01 12:00:00Z",
        "registered": "yes (zone)",
        "capture": "loaded",
        "version": "0.1.0",
    }
    told = document(seen(), NOW)
    assert (told["well"], told["unit"]["restarts"], told["capture"]) == (True, 2, None)
    json.dumps(told)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"unit": {**UNIT, "ActiveState": "failed"}, "page": None}, "unit is failed"),
        ({"unit": {**UNIT, "LoadState": "not-found"}, "page": None}, "not installed"),
        ({"unit": {**UNIT, "UnitFileState": "disabled"}}, "does not start with the host"),
        ({"page": None}, "does not answer"),
        ({"page": page(missing=["no certificate: not enrolled yet"])}, "not ready: no certificate"),
        (
            {"page": page(certificate={"not_after": (NOW - timedelta(1)).isoformat()})},
            "certificate has expired",
        ),
        (
            {"page": page(zone={"name": "east", "connected": False, "since": NOW.isoformat()})},
            "away from its zone since 2026-06-01 12:00:00Z",
        ),
        (
            {
                "page": page(
                    registration={"with": "consul", "registered": False, "problem": "refused"}
                )
            },
            "not registered: refused",
        ),
        ({"foreign": "its machine-id is another"}, "`mesh vm join` anew"),
        ({"capture": "the table is gone"}, "capture: the table is gone"),
    ],
)
def test_what_is_amiss_is_told(changed: dict[str, Any], words: str) -> None:
    found = seen(**changed)
    assert any(words in each for each in complaints(found, NOW)), complaints(found, NOW)
    assert not document(found, NOW)["well"]
    assert len(row(found, NOW)) == len(COLUMNS)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "does not answer yet"),
        (page(service="api"), "proxy of api"),
        (page(missing=["a", "b"]), "a; b"),
        (
            page(registration={"with": "zone", "registered": False, "problem": ""}),
            "not registered yet",
        ),
        (page(registration={"with": "none", "registered": False, "problem": ""}), ""),
        (page(), ""),
    ],
)
def test_who_has_joined(said: dict[str, Any] | None, reason: str) -> None:
    found = not_joined(said, "web")
    assert reason in found
    assert bool(found) == bool(reason)


def line(level: str, event: str, **more: str) -> str:
    return json.dumps({"level": level, "event": event, **more})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["Started"], "Started"),
        ([line("info", "starting"), "Main process exited"], "Main process exited"),
        (
            [line("warning", "not enrolled yet", reason="refused"), line("info", "again")],
            "not enrolled yet: refused",
        ),
        (
            [
                "error: the first",
                "error: the token was used",
                "remedy: make another",
                line("error", "later"),
            ],
            "error: the token was used remedy: make another",
        ),
    ],
)
def test_the_line_that_explains(lines: list[str], expected: str) -> None:
    assert explanation(lines) == expected
