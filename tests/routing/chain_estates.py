"""Configuration entries for the discovery-chain oracle: drawn as Consul's JSON, read as values.

The entries are written to a real Consul as they are, and :func:`values` gives the same to
our compiler.  Most references are drawn so that they hold (to a subset that exists, to a service
further on in the alphabet, so that nothing loops); the rest is left to chance, because what
Consul refuses must be refused here too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st

from mesh.model.entries import Entries, ProxyDefaults
from mesh.sources.consul.entries import (
    PROXY_DEFAULTS,
    SERVICE_DEFAULTS,
    SERVICE_RESOLVER,
    SERVICE_ROUTER,
    SERVICE_SPLITTER,
    parse_proxy_defaults,
    parse_resolver,
    parse_router,
    parse_service_defaults,
    parse_splitter,
)

SERVICES = ("api", "billing", "cart", "db", "edge")
ZONE = "dc1"
SECONDS = {"250ms": 0.25, "3s": 3.0, "1m0s": 60.0}
"""Durations as Consul writes them."""

Json = dict[str, Any]
_T = TypeVar("_T")

_SUBSETS = ("v1", "v2", "v3")
_NAMED_SUBSETS = st.lists(st.sampled_from(_SUBSETS), max_size=3, unique=True)
_ZONES = st.lists(st.sampled_from((ZONE, "dc2", "dc3")), min_size=1, max_size=3, unique=True)
_WEIGHTS: dict[int, st.SearchStrategy[tuple[float, ...]]] = {
    1: st.just((100,)),
    2: st.sampled_from(((50, 50), (0, 100), (33.33, 66.67), (99.99, 0.01))),
    3: st.sampled_from(((12.5, 25, 62.5), (97, 1, 2), (33.33, 33.34, 33.33), (100, 0, 0))),
}
"""Weights of so many splits."""
_HEADERS: tuple[Json, ...] = (
    {"Name": "x-user", "Present": True},
    {"Name": "x-user", "Exact": "ann", "Invert": True},
    {"Name": "x-user", "Prefix": "a"},
    {"Name": "x-user", "Suffix": "n"},
    {"Name": "x-user", "Regex": "a.*"},
)
_QUERIES: tuple[Json, ...] = (
    {"Name": "debug", "Present": True},
    {"Name": "debug", "Exact": "1"},
    {"Name": "debug", "Regex": "[01]"},
)
_CONDITIONS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {},
    optional={
        "Header": st.lists(st.sampled_from(_HEADERS), min_size=1, max_size=2),
        "QueryParam": st.lists(st.sampled_from(_QUERIES), min_size=1, max_size=2),
        "Methods": st.lists(st.sampled_from(("GET", "PUT")), min_size=1, unique=True),
    },
)
_TREATMENT: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {},
    optional={
        "RequestTimeout": st.sampled_from(tuple(SECONDS)),
        "NumRetries": st.integers(1, 5),
        "RetryOnConnectFailure": st.sampled_from((True,)),
        "RetryOnStatusCodes": st.lists(st.sampled_from((500, 503)), min_size=1, max_size=2),
    },
)


# A strategy is cheap to draw from and dear to make, so these are made once.
@cache
def _often(percent: int) -> st.SearchStrategy[bool]:
    return st.integers(1, 100).map(percent.__ge__)


@cache
def _one_of(options: tuple[_T, ...]) -> st.SearchStrategy[_T]:
    return st.sampled_from(options)


@st.composite
def estates(draw: st.DrawFn) -> tuple[Json, ...]:
    """Draw entries, in the order in which they are to be written."""
    entries: list[Json] = []
    main = draw(_one_of(("http", "http", "http", "http2", "grpc", "tcp")))
    if draw(_often(80)):
        config = {"protocol": main}
        entries.append({"Kind": PROXY_DEFAULTS, "Name": "global", "Config": config})
    entries += [draw(_service_defaults(service, main)) for service in SERVICES if draw(_often(25))]
    subsets = {service: draw(_NAMED_SUBSETS) for service in SERVICES}
    # What is referred to should be there first, so the last in the alphabet begins.
    last_first = SERVICES[::-1]
    entries += [
        draw(_resolver(service, subsets))
        for service in last_first
        if bool(subsets[service]) or draw(_often(50))
    ]
    entries += [draw(_splitter(service, subsets)) for service in last_first if draw(_often(65))]
    entries += [draw(_router(service, subsets)) for service in last_first if draw(_often(45))]
    if draw(_often(15)):
        entries = draw(st.permutations(entries))
    if draw(_often(30)):
        entries.append(draw(_service_defaults(draw(_one_of(SERVICES)), "tcp")))
    return tuple(entries)


@st.composite
def _service_defaults(draw: st.DrawFn, service: str, main: str) -> Json:
    entry: Json = {"Kind": SERVICE_DEFAULTS, "Name": service}
    if draw(_often(85)):
        other = st.sampled_from(("tcp", "http", "grpc"))
        entry["Protocol"] = main if draw(_often(85)) else draw(other)
    if draw(_often(15)):
        entry["ExternalSNI"] = f"{service}.example.com"
    return entry


@st.composite
def _reference(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    """Draw a service, perhaps its own, and perhaps a subset of it."""
    onward = SERVICES[SERVICES.index(service) :]
    found: Json = {}
    named = service
    if draw(_often(80)):
        named = found["Service"] = draw(_one_of(onward if draw(_often(92)) else SERVICES))
    if draw(_often(30)):
        known = subsets[named] if draw(_often(97)) else list(_SUBSETS)
        if known:
            found["ServiceSubset"] = draw(_one_of(tuple(known)))
    return found


@st.composite
def _resolver(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    own = subsets[service]
    entry: Json = {"Kind": SERVICE_RESOLVER, "Name": service}
    if own:
        entry["Subsets"] = {name: draw(_subset(name)) for name in own}
        if draw(_often(50)):
            entry["DefaultSubset"] = draw(_one_of(tuple(own)))
    if draw(_often(40)):
        entry["ConnectTimeout"] = draw(_one_of(tuple(SECONDS)))
    turn = draw(_one_of(("redirect", "failover", "failover", "stay")))
    if turn == "redirect":
        redirect = draw(_reference(service, subsets))
        if redirect:
            # Consul wants the service named, even if it is the resolver's own.
            named = {"Service": service} if draw(_often(97)) else {}
            if draw(_often(20)):
                redirect["Datacenter"] = draw(_one_of((ZONE, "dc2")))
            entry["Redirect"] = {**named, **redirect}
    elif turn == "failover":
        keys = _one_of(("*", *own) if draw(_often(97)) else ("*", *_SUBSETS))
        entry["Failover"] = {
            key: draw(_failover(service, subsets))
            for key in draw(st.lists(keys, min_size=1, max_size=2, unique=True))
        }
    return entry


@st.composite
def _subset(draw: st.DrawFn, name: str) -> Json:
    found: Json = {"Filter": f"Service.Meta.version == {name}"} if draw(_often(80)) else {}
    if draw(_often(30)):
        found["OnlyPassing"] = True
    return found


@st.composite
def _failover(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    found = draw(_reference(service, subsets))
    if not found or draw(_often(25)):
        found["Datacenters"] = draw(_ZONES)
    return found


@st.composite
def _splitter(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    chosen = draw(st.lists(_reference(service, subsets), min_size=1, max_size=3))
    if draw(_often(97)):
        # Consul takes no two splits of the same destination.
        chosen = list(
            {
                (each.get("Service", service), each.get("ServiceSubset")): each for each in chosen
            }.values()
        )
    weights = draw(_WEIGHTS[len(chosen)])
    splits = [{"Weight": weight, **each} for weight, each in zip(weights, chosen, strict=True)]
    return {"Kind": SERVICE_SPLITTER, "Name": service, "Splits": splits}


@st.composite
def _router(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    count = draw(st.integers(0, 3))
    routes = [draw(_route(service, subsets)) for _ in range(count)]
    return {"Kind": SERVICE_ROUTER, "Name": service, "Routes": routes}


@st.composite
def _route(draw: st.DrawFn, service: str, subsets: dict[str, list[str]]) -> Json:
    http = draw(_CONDITIONS)
    path = draw(_one_of(("PathExact", "PathPrefix", "PathRegex", "")))
    if path:
        http[path] = draw(_one_of(("/", "/v1/", "/orders")))
    destination = draw(_reference(service, subsets))
    if (path in {"PathExact", "PathPrefix"} or draw(_often(3))) and draw(_often(40)):
        destination["PrefixRewrite"] = draw(_one_of(("/", "/new")))
    destination.update(draw(_TREATMENT))
    route: Json = {"Match": {"HTTP": http}} if http else {}
    if bool(destination) or draw(_often(50)):
        route["Destination"] = destination
    return route


def values(entries: Iterable[Json]) -> Entries:
    """Read entries, the last of a name standing.

    Raises:
        InvalidInputError: one is not valid by itself.

    """
    found: defaultdict[str, dict[str, Json]] = defaultdict(dict)
    for entry in entries:
        found[entry["Kind"]][entry["Name"]] = entry
    proxy = found[PROXY_DEFAULTS].get("global")

    def read(kind: str, parse: Callable[[Json], _T]) -> dict[str, _T]:
        return {name: parse(entry) for name, entry in found[kind].items()}

    return Entries(
        service_defaults=read(SERVICE_DEFAULTS, parse_service_defaults),
        proxy_defaults=parse_proxy_defaults(proxy) if proxy else ProxyDefaults(),
        routers=read(SERVICE_ROUTER, parse_router),
        splitters=read(SERVICE_SPLITTER, parse_splitter),
        resolvers=read(SERVICE_RESOLVER, parse_resolver),
    )
