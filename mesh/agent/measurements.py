"""How the calls of this proxy to some clusters have gone: ``/measurements?cluster=<name>``.

Answers counters that only grow, flat, for each cluster: Envoy's own by name, ``le/<ms>`` for calls
that took up to so long (Envoy's own bins, of two significant digits), and with ``hosts=true``
what each host answered, which for gRPC also knows of failures that HTTP calls a success.  Nothing
is kept here: whoever asks remembers what was answered before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from mesh.agent.admin import Admin
from mesh.agent.http import RequestError
from mesh.agent.web import Page

MOST: Final = 32
"""How many clusters may be asked for at a time."""

_COUNTERS: Final = r"(?:rq_(?:[1-5]xx|retry|time)|cx_(?:total|connect_fail))"
_HOST_COUNTERS: Final = frozenset({"rq_success", "rq_error"})
_TIME: Final = "upstream_rq_time"

Readings = dict[str, dict[str, int]]
"""Counters by name, by cluster."""


class Measurements:
    """Answers the page, from the Envoy that ``admin`` returns (None while there is none)."""

    def __init__(self, admin: Callable[[], Admin | None]) -> None:
        """``admin`` is asked at each request."""
        self._admin = admin

    async def page(self, query: str) -> Page:
        """Answer one question."""
        asked = parse_qs(query)
        clusters = tuple(dict.fromkeys(asked.get("cluster", ())))
        if not 0 < len(clusters) <= MOST:
            text = f"name 1 to {MOST} clusters: /measurements?cluster=<name>\n"
            return Page(HTTPStatus.BAD_REQUEST, text.encode())
        admin = self._admin()
        if admin is None:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"envoy does not serve yet\n")
        try:
            found = await measure(admin, clusters, hosts=asked.get("hosts") == ["true"])
        except RequestError as error:
            return Page(
                HTTPStatus.SERVICE_UNAVAILABLE, f"envoy does not answer: {error}\n".encode()
            )
        body = json.dumps({"clusters": found}, separators=(",", ":")).encode()
        return Page(HTTPStatus.OK, body, "application/json")


async def measure(admin: Admin, clusters: Sequence[str], *, hosts: bool) -> Readings:
    """Ask Envoy about ``clusters``; one that it does not have is left out.

    Raises:
        RequestError: it does not answer, or not as Envoy does.

    """
    names = "|".join(map(re.escape, clusters))
    stats = await admin.stats(rf"^cluster\.(?:{names})\.upstream_{_COUNTERS}$")
    found = read_stats(stats, clusters)
    if hosts:
        for name, counters in read_hosts(await admin.clusters(f"^(?:{names})$")).items():
            if name in clusters:
                found.setdefault(name, {}).update(counters)
    return found


def read_stats(document: Any, clusters: Iterable[str]) -> Readings:
    """Read Envoy's answer to ``/stats?format=json&histogram_buckets=detailed``."""
    known = {f"cluster.{name}.": name for name in clusters}
    found: Readings = {}
    for stat in document.get("stats", ()):
        if "histograms" in stat:
            for each in stat["histograms"].get("details", ()):
                cluster, name = _split(each["name"], known)
                if cluster is not None and name == _TIME:
                    found.setdefault(cluster, {}).update(_bins(each["totals"]))
            continue
        cluster, name = _split(stat["name"], known)
        if cluster is not None and isinstance(stat.get("value"), int):
            found.setdefault(cluster, {})[name] = stat["value"]
    return found


def read_hosts(document: Any) -> Readings:
    """Read Envoy's answer to ``/clusters?format=json``."""
    found: Readings = {}
    for cluster in document.get("cluster_statuses", ()):
        counters = found.setdefault(str(cluster.get("name")), {})
        for host in cluster.get("host_statuses", ()):
            place = host.get("address", {}).get("socket_address", {})
            address = f"{place.get('address')}:{place.get('port_value')}"
            for stat in host.get("stats", ()):
                if stat.get("name") in _HOST_COUNTERS:
                    counters[f"host/{address}/{stat['name']}"] = int(stat.get("value", 0))
    return found


def _split(stat: str, known: Mapping[str, str]) -> tuple[str | None, str]:
    prefix, _, name = stat.rpartition(".")
    return known.get(f"{prefix}."), name


def _bins(totals: Iterable[Mapping[str, float]]) -> dict[str, int]:
    # The upper edge: a call took at most so long.  Rounded, for 3 + 0.1 is not 3.1 to a computer.
    return {
        f"le/{round(each['lower_bound'] + each['width'], 6):g}": int(each["count"])
        for each in totals
    }
