"""Clients that call without a pause, and count.

It runs in a host with the host's own Python: ``load.py URL``.  One client keeps its connection and
asks nothing twice: what it loses is what was under way when a connection ended.  The other makes a
connection for each call and tries up to five times within a second, as a client does that wants an
answer.  On a line of standard input both stop, and what they counted is printed as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

_ATTEMPTS = 5
_PAUSE = 0.2
_BETWEEN = 0.01


def keep_alive(place: str, counts: dict[str, int], stop: threading.Event) -> None:
    """Call over one connection for as long as it lasts."""
    connection = http.client.HTTPConnection(place, timeout=5)
    while not stop.wait(_BETWEEN):
        counts["calls"] += 1
        if not _answers(connection):
            counts["failed"] += 1
            connection.close()
            connection = http.client.HTTPConnection(place, timeout=5)


def retrying(place: str, counts: dict[str, int], stop: threading.Event) -> None:
    """Call over a new connection each time, and again where that failed."""
    while not stop.wait(_BETWEEN):
        counts["calls"] += 1
        for attempt in range(_ATTEMPTS):
            connection = http.client.HTTPConnection(place, timeout=5)
            answered = _answers(connection)
            connection.close()
            if answered:
                break
            counts["retried"] += 1
            if attempt + 1 == _ATTEMPTS:
                counts["failed"] += 1
            time.sleep(_PAUSE)


def _answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == http.client.OK


def main() -> None:
    """Call until told to stop."""
    place = urlsplit(sys.argv[1]).netloc
    stop = threading.Event()
    counts = {
        each.__name__: dict.fromkeys(("calls", "retried", "failed"), 0)
        for each in (keep_alive, retrying)
    }
    clients = [
        threading.Thread(target=each, args=(place, counts[each.__name__], stop))
        for each in (keep_alive, retrying)
    ]
    for each in clients:
        each.start()
    print("calling", flush=True)  # noqa: T201 - what the test waits for
    sys.stdin.readline()
    stop.set()
    for each in clients:
        each.join()
    print(json.dumps(counts), flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
