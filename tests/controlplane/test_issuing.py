"""The trust bundle as a file, for people on the zone's host."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.ca.local import LocalIssuer
from mesh.controlplane.issuing import keep_bundle


async def test_a_bundle_that_cannot_be_written_ends_nothing_and_is_written_later(
    issuer: LocalIssuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "absent" / "bundle.pem", ManualClock()
    async with Tasks() as tasks:
        tasks.spawn("keep", keep_bundle(issuer, file, clock), forever=True)
        await clock.sleeping()
        assert "trust bundle not written" in caplog.messages
        file.parent.mkdir()
        await clock.advance(30)
        await clock.sleeping()
        assert file.read_text() == issuer.bundle().pem
