"""A real Envoy with the compiled filters answers as the verdict says, row by row."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.model.identity import WorkloadId
from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtLocation,
    JwtProvider,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions import Authorization, Call, Scope, authorize, judge, validate
from mesh.policies.intentions.paths import normalise
from tests.policies.authority import Authority
from tests.policies.gate import SEEN_PATH, ask, bootstrap
from tests.policies.strategies import ISSUERS, grouped
from tests.realenvoy import running, validated

pytestmark = pytest.mark.e2e

ALLOW, DENY = Action.ALLOW, Action.DENY
_DOMAIN: Final = "td.example"


def _path(kind: PathMatchKind, value: str) -> PathMatch:
    return PathMatch(kind, value)


def _web(*permissions: Permission, jwt: tuple[JwtRequirement, ...] = ()) -> tuple[Intention, ...]:
    return (Intention("web", "api", permissions=permissions, jwt=jwt),)


def _header(kind: HeaderMatchKind, value: str = "", **how: bool) -> tuple[Intention, ...]:
    return _web(Permission(ALLOW, headers=(HeaderMatch("X-Role", kind, value, **how),)))


EXACT = _path(PathMatchKind.EXACT, "/v1/a")
PREFIX = _path(PathMatchKind.PREFIX, "/v1/")
REGEX = _path(PathMatchKind.REGEX, r"/v[0-9]+/(?i:a)[[:alpha:]]*\.json")
ADMIN = JwtRequirement("okta", (ClaimMatch(("perms", "role"), "admin"),))

RULES: Final[dict[str, tuple[Intention, ...]]] = {
    "exact": _web(Permission(ALLOW, EXACT)),
    "prefix": _web(Permission(ALLOW, PREFIX)),
    "regex": _web(Permission(ALLOW, REGEX)),
    "literal": _web(Permission(ALLOW, _path(PathMatchKind.PREFIX, "/a+(b)[c].*$"))),
    "methods": _web(Permission(ALLOW, methods=("GET", "PUT"))),
    "and": _web(
        Permission(ALLOW, PREFIX, ("GET",), (HeaderMatch("x-role", HeaderMatchKind.PRESENT),))
    ),
    "first": _web(
        Permission(DENY, EXACT), Permission(ALLOW, PREFIX), Permission(DENY, methods=("GET",))
    ),
    "present": _header(HeaderMatchKind.PRESENT),
    "absent": _header(HeaderMatchKind.PRESENT, invert=True),
    "header-exact": _header(HeaderMatchKind.EXACT, "admin"),
    "header-exact-case": _header(HeaderMatchKind.EXACT, "admin", ignore_case=True),
    "header-exact-not": _header(HeaderMatchKind.EXACT, "admin", invert=True),
    "header-prefix": _header(HeaderMatchKind.PREFIX, "ad"),
    "header-prefix-not": _header(HeaderMatchKind.PREFIX, "ad", invert=True, ignore_case=True),
    "header-suffix": _header(HeaderMatchKind.SUFFIX, "min"),
    "header-suffix-case": _header(HeaderMatchKind.SUFFIX, "MIN", ignore_case=True),
    "header-contains": _header(HeaderMatchKind.CONTAINS, "dmi"),
    "header-contains-case": _header(HeaderMatchKind.CONTAINS, "DMI", ignore_case=True),
    "header-regex": _header(HeaderMatchKind.REGEX, "(?i)AD[m-n]+in"),
    "header-regex-not": _header(HeaderMatchKind.REGEX, "ad.*", invert=True),
    "wildcard": (
        Intention("*", "api", permissions=(Permission(ALLOW, PREFIX),)),
        Intention("db", "api", DENY),
        Intention("web-2", "api", ALLOW),
    ),
    "token": (Intention("web", "api", ALLOW, jwt=(JwtRequirement("okta"),)),),
    "claims": (Intention("web", "api", ALLOW, jwt=(ADMIN, JwtRequirement("corp"))),),
    "permission-token": _web(Permission(ALLOW, PREFIX, jwt=(ADMIN,)), Permission(DENY, EXACT)),
    "both-tokens": _web(Permission(ALLOW, PREFIX, jwt=(ADMIN,)), jwt=(JwtRequirement("corp"),)),
    "connection": (Intention("web", "api", ALLOW), Intention("*", "*", DENY)),
}


@dataclass(frozen=True)
class Row:
    """One request; ``claims`` become tokens."""

    method: str = "GET"
    path: str = "/v1/a"
    headers: dict[str, str] = field(default_factory=dict)
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: str = "web"


_ROLES: Final = ("admin", "ADMIN", "administrator", "user", "")
ROWS: Final = (
    Row(),
    Row(source="db"),
    Row(source="web-2"),
    Row("PUT"),
    Row("POST", "/v2/Ab.json?x=/v1/a"),
    Row(path="/v1/a?query=1"),
    Row(path="/v1/b"),
    Row(path="/v1"),
    Row(path="/V1/a"),
    Row(path="//v1///a"),
    Row(path="/x/../v1/./a"),
    Row(path="/x/%2e%2E/v1/%61"),
    Row(path="/v1%2Fa"),
    Row(path="/v10/a.json"),
    Row(path="/v10/axjson"),
    Row(path="/a+(b)[c].*$/x"),
    Row(path="/aab"),
    *(Row(headers={"x-role": role}) for role in _ROLES),
    Row(claims={"okta": {}}),
    Row(claims={"okta": {"perms": {"role": "admin"}}}),
    Row(claims={"okta": {"perms": {"role": ["user", "admin"]}}}),
    Row(claims={"okta": {"perms": {"role": ["user"]}}}),
    Row(claims={"okta": {"perms": {"role": 7}}}),
    Row(claims={"okta": {"perms": "admin"}}),
    Row(claims={"corp": {"perms": {"role": "admin"}}}),
    Row(claims={"corp": {}, "okta": {"perms": {"role": "admin"}}}),
    Row(source="db", claims={"corp": {}, "okta": {"perms": {"role": "admin"}}}),
)

_LOCATIONS: Final = {"okta": JwtLocation(header="x-okta"), "corp": JwtLocation(header="x-corp")}


class Issuer:
    """One who signs tokens."""

    def __init__(self, name: str) -> None:
        """Make the key."""
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def provider(self) -> JwtProvider:
        """How Envoy verifies the tokens."""
        key = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        keys = json.dumps({"keys": [{**key, "kid": "1", "alg": "ES256", "use": "sig"}]})
        where = (_LOCATIONS[self._name],)
        return JwtProvider(self._name, ISSUERS[self._name], jwks=keys, locations=where)

    def sign(self, claims: dict[str, Any], **standard: Any) -> str:
        """Return a token."""
        payload = {"iss": ISSUERS[self._name], **claims, **standard}
        return pyjwt.encode(payload, self._key, "ES256", headers={"kid": "1"})


@dataclass(frozen=True)
class Gates:
    """A running Envoy, and those who call it."""

    ports: dict[str, int]
    clients: dict[str, ssl.SSLContext]
    issuers: dict[str, Issuer]

    def status(self, gate: str, row: Row, tokens: dict[str, str] | None = None) -> int:
        """Return the answer's status; 403 if the connection was refused."""
        signed = {name: self.issuers[name].sign(claims) for name, claims in row.claims.items()}
        carried = {f"x-{name}": token for name, token in (tokens or signed).items()}
        try:
            return ask(
                self.ports[gate],
                self.clients[row.source],
                row.method,
                row.path,
                {**row.headers, **carried},
            ).status
        except (ConnectionError, ssl.SSLError, http.client.HTTPException):
            return 403


def _filters(
    providers: dict[str, JwtProvider], *, default_allow: bool
) -> Callable[[tuple[Intention, ...]], Authorization]:
    scope = Scope(_DOMAIN, Protocol.HTTP, default_allow, providers, lambda found: found.name)
    return lambda intentions: authorize(grouped(intentions), "api", scope)


def _gate(name: str, *, default_allow: bool) -> str:
    return f"{name}:{'allow' if default_allow else 'deny'}"


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    """Run one Envoy with a listener for each set of rules and each default."""
    directory: Path = tmp_path_factory.mktemp("envoy")
    authority = Authority(directory)
    issuers = {name: Issuer(name) for name in ISSUERS}
    providers = {name: issuer.provider for name, issuer in issuers.items()}
    compiled = {
        _gate(name, default_allow=default_allow): _filters(providers, default_allow=default_allow)(
            intentions
        )
        for name, intentions in RULES.items()
        for default_allow in (False, True)
    }
    clients = {
        name: authority.client(name, WorkloadId(_DOMAIN, "dc2", name).uri)
        for name in ("web", "web-2", "db")
    }
    with running(bootstrap(compiled, authority), directory) as ports:
        yield Gates(ports, clients, issuers)


@pytest.mark.parametrize("default_allow", [False, True], ids=["default-deny", "default-allow"])
@pytest.mark.parametrize("name", RULES)
def test_envoy_answers_as_the_verdict_says(
    gates: Gates,
    name: str,
    default_allow: bool,  # noqa: FBT001 - parametrised
) -> None:
    held = grouped(RULES[name])
    assert not [found for intention in RULES[name] for found in validate(intention)]
    gate = _gate(name, default_allow=default_allow)
    differing = []
    for row in ROWS:
        call = Call(row.source, "api", Protocol.HTTP, row.method, row.path, row.headers, row.claims)
        verdict = judge(held, call, default_allow=default_allow)
        status = gates.status(gate, row)
        if status != (200 if verdict.allowed else 403):
            differing.append((row, status, verdict.reason))
    assert not differing


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/./b/../c",
        "/a//../b",
        "/..",
        "/../../a",
        "/a/.",
        "/a/..",
        "/a/..;/b",
        "/%2e%2e/a",
        "/%2E/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5Cb",
        "/a\\..\\b",
        "/%41%7e%2d%5F",
        "/%25%32%65",
        "/a%20b",
        "//a//b//",
        "/a;x=1/b",
        "/...",
        "/a?b=/../c//d",
        "/a/..;x=1/b",
        "/a/.;",
        "/a/%2e%2e;/b",
        "/a/...;/b",
        "/a/..;b",
        '/a"<>^`{|}',
    ],
)
def test_the_path_is_normalised_as_envoy_does(gates: Gates, target: str) -> None:
    answer = ask(gates.ports["absent:deny"], gates.clients["web"], "GET", target)

    assert answer.status == http.HTTPStatus.OK
    seen = answer.getheader(SEEN_PATH)
    assert seen is not None
    assert normalise(target) == seen.partition("?")[0]


def test_a_token_that_does_not_verify_is_no_token(gates: Gates) -> None:
    claims = {"perms": {"role": "admin"}}
    good = gates.issuers["okta"].sign(claims)
    head, payload, _ = good.split(".")
    forged = {
        "tampered": f"{head}.{payload}.{gates.issuers['okta'].sign({}).split('.')[2]}",
        "another's": gates.issuers["corp"].sign(claims, iss=ISSUERS["okta"]),
        "another issuer": gates.issuers["okta"].sign(claims, iss=ISSUERS["corp"]),
        "expired": gates.issuers["okta"].sign(claims, exp=1),
        "early": gates.issuers["okta"].sign(claims, nbf=int(time.time()) + 3600),
        "garbage": "a.b.c",
    }

    assert gates.status("token:deny", Row(), {"okta": good}) == 200
    for what, token in forged.items():
        for gate in ("token:deny", "token:allow", "claims:deny"):
            assert gates.status(gate, Row(), {"okta": token}) == 403, what


def test_envoy_accepts_what_is_compiled_for_strange_names(tmp_path: Path) -> None:
    strange = (
        Intention("w.e-b_2", "api", permissions=(Permission(ALLOW, REGEX),)),
        Intention("a+b(c)[d]{e}\\|^$?*", "api", ALLOW),
        Intention("näme with space", "*", ALLOW, jwt=(JwtRequirement("okta"),)),
        Intention("*", "*", DENY),
    )
    providers = {"okta": Issuer("okta").provider}
    compiled = {
        "deny": _filters(providers, default_allow=False)(strange),
        "allow": _filters(providers, default_allow=True)(strange),
        "tcp": _filters({}, default_allow=False)(strange[1:2]),
    }

    validated(bootstrap(compiled, Authority(tmp_path)), tmp_path)
