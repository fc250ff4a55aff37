"""Intentions as Envoy's RBAC: precedence made explicit, so that order no longer matters.

Consul's list is read from the top until something matches; Envoy's policies are a set, all of
one action.  The default picks the action: what is denied by default is a list of what is
allowed, and the other way round.  Then

* a ``*`` source stands for everybody *but* the sources decided above it, and what is below it
  decides nothing;
* a permission stands for the requests that it matches *but* those that an earlier permission
  of the opposite action matches;
* whatever says the same as the default is left out.

The network filter suffices until some intention in force tells one request from another.
Callers of a peer are compiled for themselves: what is not allowed them by name is denied them,
whatever the default, so where the default allows, their exceptions are what they may *not* do, and
one more policy denies all who are neither ours nor named.

Then, and only on a destination whose requests can be told apart, the HTTP filter takes its
place, with a token filter before it where tokens are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from mesh.envoy import jwt, rbac
from mesh.model import callers
from mesh.model.intentions import (
    Action,
    Intention,
    IntentionsByDestination,
    JwtProvider,
    JwtRequirement,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions.verdict import applicable, outcomes

_STAT_PREFIX: Final = "intentions"
_UNNAMED: Final = ":of-no-peer-that-is-named"
"""A colon cannot stand in a service's name: nobody else's policy is called so."""
_NO_PEERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Authorization:
    """The filters that enforce the intentions of one destination.

    Exactly one of ``network`` and ``http`` is there, even where nothing is forbidden: a filter
    that changes disturbs nobody, one that comes or goes does.  ``jwt`` stands before ``http``.
    """

    network: Any = None
    http: Any = None
    jwt: Any = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What the intentions of a destination are compiled against.

    ``peers`` are the trust domains of the peers, by name.
    """

    trust_domain: str
    protocol: Protocol
    default_allow: bool
    providers: Mapping[str, JwtProvider]
    jwks_cluster: Callable[[JwtProvider], str]
    peers: Mapping[str, str] = field(default_factory=lambda: _NO_PEERS)


def authorize(intentions: IntentionsByDestination, destination: str, scope: Scope) -> Authorization:
    """Compile what is in force for ``destination``."""
    groups = {peer: _in_force(intentions, destination, peer) for peer in ("", *sorted(scope.peers))}
    in_force = [intention for group in groups.values() for intention in group]
    possible = [
        outcomes(intention, scope.protocol, default_allow=scope.default_allow and not peer)
        for peer, group in groups.items()
        for intention in group
    ]
    policies = {
        name: policy
        for peer, group in groups.items()
        for name, policy in _Compiler(scope, group, peer).policies().items()
    }
    if scope.peers and scope.default_allow:
        policies[_UNNAMED] = _unnamed(scope, groups)
    rules = rbac.rules(policies, default_allow=scope.default_allow)
    if all(len(found) == 1 for found in possible):
        return Authorization(network=rbac.network_filter(_STAT_PREFIX, rules))
    providers = _providers(in_force, scope)
    return Authorization(
        http=rbac.http_filter(_STAT_PREFIX, rules),
        jwt=jwt.authentication(providers, scope.jwks_cluster) if providers else None,
    )


def _in_force(
    intentions: IntentionsByDestination, destination: str, peer: str
) -> tuple[Intention, ...]:
    found = tuple(one for one in applicable(intentions, destination) if one.peer == peer)
    for index, intention in enumerate(found):
        if callers.is_wildcard(intention.source):
            return found[: index + 1]
    return found


def _unnamed(scope: Scope, groups: Mapping[str, Sequence[Intention]]) -> Any:
    """Deny everything to all but our own, and those of peers of whom something is said."""
    known = [rbac.identified(rbac.workloads(scope.trust_domain))]
    for peer, domain in sorted(scope.peers.items()):
        named = [callers.split(one.source)[0] for one in groups[peer]]
        if any(callers.is_wildcard(one.source) for one in groups[peer]):
            known.append(rbac.identified(rbac.workloads(domain, zone=peer)))
        elif named:
            known.append(rbac.identified(rbac.workloads(domain, named, zone=peer)))
    return rbac.policy(rbac.not_principal(rbac.either_principal(known)), [rbac.anything()])


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Writes the exceptions to the default, one policy for each source.

    All of ``in_force`` are about callers of ``peer``, or of our own where that is empty.
    """

    scope: Scope
    in_force: tuple[Intention, ...]
    peer: str = ""

    def policies(self) -> dict[str, Any]:
        return dict(
            entry
            for index, intention in enumerate(self.in_force)
            for entry in self._of(intention, self.in_force[:index])
        )

    def _of(self, intention: Intention, above: Sequence[Intention]) -> Iterator[tuple[str, Any]]:
        """Yield the named policies of ``intention``, which those ``above`` override."""
        name = f"{intention.source}-to-{intention.destination}"
        default = self.scope.default_allow
        possible = outcomes(intention, self.scope.protocol, default_allow=default and not self.peer)
        who = self._callers(intention.source, [other.source for other in above])
        if possible == {not default}:
            yield name, rbac.policy(who, [rbac.anything()])
        elif len(possible) > 1:
            required = self._bearers(intention.jwt)
            if required is not None and default:
                lacking = rbac.every_principal([who, rbac.not_principal(required)])
                # A colon cannot stand in a service's name: nobody else's policy is called so.
                yield f"{name}:without-token", rbac.policy(lacking, [rbac.anything()])
            elif required is not None:
                who = rbac.every_principal([who, required])
            permissions = self._exceptions(intention)
            if permissions:
                yield name, rbac.policy(who, permissions)

    def _callers(self, source: str, above: Sequence[str]) -> Any:
        if not callers.is_wildcard(source):
            return self._workloads([source])
        # Only a workload is ever allowed, but a denial of everybody spares nobody.  (Where there
        # are peers, who is not of our own is denied elsewhere, unless something is said of him.)
        spares_nobody = self.scope.default_allow and not self.scope.peers
        everybody = rbac.anybody() if spares_nobody else self._workloads(None)
        if not above:
            return everybody
        decided = self._workloads(above)
        return rbac.every_principal([everybody, rbac.not_principal(decided)])

    def _workloads(self, sources: Sequence[str] | None) -> Any:
        domain = self.scope.peers[self.peer] if self.peer else self.scope.trust_domain
        services = None if sources is None else [callers.split(each)[0] for each in sources]
        return rbac.identified(rbac.workloads(domain, services, zone=self.peer))

    def _exceptions(self, intention: Intention) -> list[Any]:
        """Return what of ``intention`` differs from the default, in RBAC's permissions."""
        usual = Action.ALLOW if self.scope.default_allow else Action.DENY
        if not intention.permissions:
            return [] if intention.action is usual else [rbac.anything()]
        exceptions: list[Any] = []
        before: list[Any] = []
        for permission in intention.permissions:
            matched = self._matched(permission)
            if permission.action is usual:
                before.append(rbac.not_permission(matched))
            else:
                exceptions.append(rbac.every_permission([matched, *before]))
        if self.peer and self.scope.default_allow:
            # What no permission matches is denied to callers of peers.
            exceptions.append(rbac.every_permission(before))
        return exceptions

    def _matched(self, permission: Permission) -> Any:
        conditions = [rbac.on_path(permission.path)] if permission.path else []
        if permission.methods:
            conditions.append(rbac.by_method(permission.methods))
        conditions += [rbac.with_header(header) for header in permission.headers]
        if permission.jwt:
            tokens = [
                rbac.every_permission([rbac.permission_with(shown) for shown in token])
                for token in self._tokens(permission.jwt)
            ]
            conditions.append(rbac.either_permission(tokens))
        return rbac.every_permission(conditions)

    def _bearers(self, requirements: Sequence[JwtRequirement]) -> Any:
        """Return those with a token that suffices; None where no token is asked for."""
        if not requirements:
            return None
        return rbac.either_principal(
            [
                rbac.every_principal([rbac.principal_with(shown) for shown in token])
                for token in self._tokens(requirements)
            ]
        )

    def _tokens(self, requirements: Sequence[JwtRequirement]) -> list[list[Any]]:
        """Return the tokens that suffice; one of an unknown provider never does."""
        return [
            jwt.token(requirement, self.scope.providers[requirement.provider].issuer)
            for requirement in requirements
            if requirement.provider in self.scope.providers
        ]


def _providers(in_force: Sequence[Intention], scope: Scope) -> list[JwtProvider]:
    names = {
        requirement.provider
        for intention in in_force
        for requirements in (intention.jwt, *(each.jwt for each in intention.permissions))
        for requirement in requirements
    }
    return [scope.providers[name] for name in sorted(names) if name in scope.providers]
