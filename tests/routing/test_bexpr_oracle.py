"""What a filter selects, and what is a filter at all, equals what a real Consul says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.clients.consul import HealthEntry
from mesh.model.services import Instance
from mesh.routing import bexpr
from mesh.sources.consul.instances import parse_instances
from tests.realconsul import RealConsul

_EXPRESSIONS = 500
_MUTATIONS = 250

_INSTANCES: list[dict[str, Any]] = [
    {"meta": {"version": "v1", "empty": "", "path": "/p/q"}, "tags": ["blue", "not"]},
    {"meta": {"version": "v2", "canary": "true"}, "tags": ["green"], "checks": ["warning"]},
    {"meta": {"version": "v2.1", "0": "zero"}, "node_meta": {"rack": "a"}, "address": ""},
    {"checks": ["critical", "passing"], "weights": {"Passing": 7, "Warning": 3}},
    {"meta": {"version": "2", "text": "a b\n"}, "node_meta": {"rack": "b"}, "tags": ["in", "v1"]},
    {"meta": {"version": "V1", "unicode": "grün"}, "checks": ["passing", "warning"], "name": "w"},
]
_TEXTS = st.sampled_from(
    [
        *("v1", "v2", "V1", "2", "", "v", "blue", "not", "in", "a", "b\n", "true", "rack", "0"),
        *("ü", "web", "web-2", "10.1.0.1", "10.9.0.2", "connect-proxy", "dc1", "version"),
    ]
)
_PATTERNS = st.sampled_from(["^v", "v[12]$", ".*", "^$", "2", "(?i)^V1$", "b$", "b\\n$", "^[^v]+$"])
_NUMBERS = st.sampled_from(["2000", "2001", "1", "7", "-1", '"0x7d2"', '"+3"', "`03720`", "0"])
_TEXT_FIELDS = st.sampled_from(
    [
        *("Service.ID", "Service.Service", "Service.Kind", "Service.Address", "Node.Node"),
        *("Node.Address", "Node.Datacenter", "Service.Proxy.DestinationServiceName"),
        *("Service.Meta.version", "Service.Meta.version", 'Service.Meta["version"]'),
        *("Service.Meta.empty", "Service.Meta.missing", "Service.Meta[ `0` ]"),
        *("Service.Meta.text", "Service.Meta.unicode", "Service.Meta.path"),
        *("Node.Meta.rack", 'Node["Meta"].rack'),
    ]
)
_NUMBER_FIELDS = st.sampled_from(
    ["Service.Port", "Service.Weights.Passing", "Service.Weights.Warning"]
)
_COLLECTIONS = st.sampled_from(["Service.Tags", "Service.Meta", "Node.Meta"])
_GAP = st.sampled_from([" ", " ", " ", "  ", "\t", "\n"])


@st.composite
def _values(draw: st.DrawFn) -> str:
    text = draw(_TEXTS)
    bare = text.isascii() and text.isalnum() and not text[0].isdigit() if text else False
    forms = [json.dumps(text, ensure_ascii=False), f"`{text}`"] + ([text] if bare else [])
    return draw(st.sampled_from(forms))


@st.composite
def _conditions(draw: st.DrawFn) -> str:
    gap, kind = draw(_GAP), draw(st.sampled_from("tttttnnccks"))
    if kind == "n":
        return f"{draw(_NUMBER_FIELDS)}{draw(st.sampled_from(['==', ' != ']))}{draw(_NUMBERS)}"
    if kind == "s":
        return draw(st.sampled_from(["Checks.Status == critical", "Checks.Status != passing"]))
    if kind == "k":
        return f"{draw(_COLLECTIONS)}{gap}is{draw(st.sampled_from([' ', ' not ']))}empty"
    asked = draw(_COLLECTIONS if kind == "c" else _TEXT_FIELDS)
    negated = draw(st.sampled_from(["", f"not{gap}"]))
    forms = [
        f"{draw(_values())}{gap}{negated}in{gap}{asked}",
        f"{asked}{gap}{negated}contains{gap}{draw(_values())}",
    ]
    if kind == "t":
        sign = "!=" if negated else "=="
        forms += [
            f"{asked}{gap}{sign}{gap}{draw(_values())}",
            f"{asked}{sign}{draw(_values())}",
            f"{asked}{gap}{negated}matches{gap}`{draw(_PATTERNS)}`",
        ]
    return draw(st.sampled_from(forms))


def _expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        _conditions(),
        lambda inner: st.one_of(
            st.builds("not{}{}".format, _GAP, inner),
            st.builds("({})".format, inner),
            st.builds("{0}{1}and{1}{2}".format, inner, _GAP, inner),
            st.builds("{0}{1}or{1}{2}".format, inner, _GAP, inner),
        ),
        max_leaves=6,
    )


@st.composite
def _mutations(draw: st.DrawFn) -> str:
    """Draw an expression in which a few characters are gone, new or elsewhere."""
    text = draw(_expressions())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text)))
        until = min(len(text), at + draw(st.integers(0, 3)))
        new = draw(st.sampled_from(["", "", " ", "(", ")", '"', "`", ".", "[", "not ", "1", "x"]))
        text = text[:at] + new + text[until:]
    return text


class Consul:
    """The real answer: who is selected, or None if the text is no filter."""

    def __init__(self, port: int) -> None:
        """Keep one connection."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for number, said in enumerate(_INSTANCES):
            status, body = self._ask("PUT", "/v1/catalog/register", _registration(number, said))
            assert status == http.client.OK, body
        _, body = self._ask("GET", "/v1/health/connect/web")
        found = msgspec.json.decode(body, type=tuple[HealthEntry, ...])
        self.instances, problems = parse_instances("web", found)
        assert len(self.instances) == len(_INSTANCES)
        assert not problems

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def selected(self, text: str) -> set[str] | None:
        """Return the ids of the sidecars that Consul selects."""
        status, body = self._ask("GET", f"/v1/health/connect/web?filter={quote(text, safe='')}")
        if status != http.client.OK:
            assert b"boolean expression" in body, body
            return None
        return {entry["Service"]["ID"] for entry in json.loads(body)}

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        self._connection.request(method, path, json.dumps(body) if body else None)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def _registration(number: int, said: dict[str, Any]) -> dict[str, Any]:
    identifier = f"web-{number}"
    return {
        "Node": f"node-{number}",
        "Address": f"10.9.0.{number}",
        "NodeMeta": said.get("node_meta", {}),
        "Service": {
            "Kind": "connect-proxy",
            "ID": identifier,
            "Service": said.get("name", "web-sidecar-proxy"),
            "Tags": said.get("tags", []),
            "Meta": said.get("meta", {}),
            "Address": said.get("address", f"10.1.0.{number}"),
            "Port": 2000 + number,
            "Weights": said.get("weights", {"Passing": 1, "Warning": 1}),
            "Proxy": {"DestinationServiceName": "web"},
        },
        "Checks": [
            {"CheckID": f"{identifier}-{index}", "Status": status, "ServiceID": identifier}
            for index, status in enumerate(said.get("checks", ["passing"]))
        ],
    }


def _ours(text: str, instances: tuple[Instance, ...]) -> set[str] | None:
    try:
        condition = bexpr.parse(text)
    except bexpr.InvalidFilterError:
        return None
    return {
        each.id for each in instances if bexpr.evaluate(condition, each, service="web", zone="dc1")
    }


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with RealConsul(tmp_path_factory.mktemp("consul")) as server:
        client = Consul(server.port)
        try:
            yield client
        finally:
            client.close()


def test_a_filter_selects_whom_consul_selects(
    consul: Consul, record_property: Callable[[str, object], None]
) -> None:
    compared: list[str] = []
    told_apart = 0

    @settings(
        max_examples=_EXPRESSIONS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_expressions())
    def compare(text: str) -> None:
        nonlocal told_apart
        expected = consul.selected(text)
        assert expected is not None, text
        assert _ours(text, consul.instances) == expected, text
        compared.append(text)
        told_apart += 0 < len(expected) < len(_INSTANCES)

    compare()
    record_property("expressions", len(compared))
    assert len(compared) >= _EXPRESSIONS
    assert told_apart > _EXPRESSIONS // 8, "too few of the expressions tell instances apart"


def test_a_text_is_a_filter_where_consul_takes_it_for_one(
    consul: Consul, record_property: Callable[[str, object], None]
) -> None:
    refused = 0
    compared = 0

    @settings(
        max_examples=_MUTATIONS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_mutations())
    def compare(text: str) -> None:
        nonlocal refused, compared
        expected = consul.selected(text) if text else None
        ours = _ours(text, consul.instances)
        if expected is None or ours is not None:
            assert ours == expected, text
        else:
            assert _only_the_mesh_refuses(text), text
        compared += 1
        refused += expected is None

    compare()
    record_property("texts", compared)
    record_property("texts that Consul refuses", refused)
    assert compared >= _MUTATIONS
    assert refused > _MUTATIONS // 4


def _only_the_mesh_refuses(text: str) -> bool:
    """Whether ``text`` asks for what the mesh does not keep, and says so."""
    try:
        bexpr.parse(text)
    except bexpr.InvalidFilterError as error:
        return any("answered only" in fault or "not keep" in fault for fault in error.faults)
    return False
