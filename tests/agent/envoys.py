"""Ending the Envoys that a test left."""

from __future__ import annotations

import contextlib
import json
import os
import signal

from mesh.agent import envoy_process
from mesh.agent.envoy_process import PLACES
from mesh.agent.state import StateDir


def end_all(state: StateDir) -> None:
    """End every Envoy that a run file names."""
    for each in PLACES:
        content = state.read(envoy_process.run_file(each))
        if content is not None:
            run = json.loads(content)
            if envoy_process.start_time(run["pid"]) == run["started"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(run["pid"], signal.SIGKILL)
