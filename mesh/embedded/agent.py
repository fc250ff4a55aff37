"""What an agent is told to register: definitions read into records and check plans.

An agent's service is a service of the registry's own node.  Registering it again keeps the
status its checks have.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from mesh.embedded import catalog, definitions
from mesh.embedded.core import NODE_NAME
from mesh.embedded.decode import Body
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Check, CheckPlan, Service
from mesh.embedded.store import Transaction

_UNSUPPORTED_CHECKS = ("Args", "ScriptArgs", "DockerContainerID", "GRPC", "UDP", "H2PING")


@dataclass(frozen=True, slots=True)
class Registration:
    """A service with the checks it comes with."""

    service: Service
    checks: tuple[tuple[Check, CheckPlan], ...]


def registration(body: Body) -> Registration:
    """Read a service as its agent takes it, checks included.

    Raises:
        RefusedError: with status 400, when the definition does not hold together.

    """
    found = definitions.service(body, node=NODE_NAME)
    if not found.name:
        raise RefusedError("Missing service name", HTTPStatus.BAD_REQUEST)
    if "SidecarService" in body.body("Connect"):
        raise RefusedError(
            "Connect.SidecarService is not supported by the embedded registry: "
            "register the connect-proxy as a service of its own",
            HTTPStatus.BAD_REQUEST,
        )
    _require_proxy_fields(found)
    if found.address and not found.tagged_addresses:
        found = msgspec.structs.replace(found, tagged_addresses=_tagged(found))
    bodies = [*([body.body("Check")] if "Check" in body else []), *body.bodies("Checks")]
    checks = []
    for number, each in enumerate(bodies, 1):
        suffix = f":{number}" if len(bodies) > 1 else ""
        checks.append(
            check(
                each,
                service_id=found.id,
                default_id=f"service:{found.id}{suffix}",
                default_name=f"Service '{found.name}' check",
            )
        )
    return Registration(found, tuple(checks))


def check(
    body: Body, *, service_id: str, default_id: str, default_name: str
) -> tuple[Check, CheckPlan]:
    """Read a check and how it is carried out.

    Raises:
        RefusedError: with status 400, when the definition does not hold together.

    """
    status = body.text("Status")
    if status and status not in catalog.STATUSES:
        raise RefusedError("Bad check status", HTTPStatus.BAD_REQUEST)
    plan = _plan(body, service_id, body.text("CheckID") or body.text("ID") or default_id)
    return (
        Check(
            node=NODE_NAME,
            id=plan.id,
            name=body.text("Name") or default_name,
            status=status or "critical",
            notes=body.text("Notes"),
            output=body.text("Output"),
            service_id=service_id,
            type=plan.kind,
        ),
        plan,
    )


def register(tx: Transaction, wanted: Registration, *, replace_checks: bool) -> None:
    """Register a service with its checks; with ``replace_checks`` it keeps no other check."""
    catalog.put_service(tx, wanted.service)
    named = {plan.id for _, plan in wanted.checks}
    for existing in catalog.checks_of(tx, NODE_NAME, wanted.service.id):
        if replace_checks and existing.id not in named:
            deregister_check(tx, existing.id)
    for each, plan in wanted.checks:
        register_check(tx, each, plan)


def register_check(tx: Transaction, wanted: Check, plan: CheckPlan) -> None:
    """Register a check; one that is there keeps its status."""
    if wanted.service_id and tx.store.services.get(NODE_NAME, wanted.service_id) is None:
        raise RefusedError(f'ServiceID "{wanted.service_id}" does not exist')
    former = tx.store.checks.get(NODE_NAME, wanted.id)
    if former is not None:
        wanted = msgspec.structs.replace(wanted, status=former.status, output=former.output)
    catalog.put_check(tx, wanted)
    tx.put(tx.store.plans, plan)


def deregister_check(tx: Transaction, check_id: str) -> None:
    """Deregister a check and stop carrying it out."""
    tx.delete(tx.store.plans, check_id)
    catalog.delete_check(tx, NODE_NAME, check_id)


def _plan(body: Body, service_id: str, check_id: str) -> CheckPlan:
    for name in _UNSUPPORTED_CHECKS:
        if name in body:
            raise RefusedError(
                f"Invalid check: {name} checks are not supported by the embedded registry: "
                "use TTL, TCP, HTTP or AliasService",
                HTTPStatus.BAD_REQUEST,
            )
    ttl, interval = body.seconds("TTL"), body.seconds("Interval")
    targets = {"tcp": body.text("TCP"), "http": body.text("HTTP")}
    kind = next((kind for kind, target in targets.items() if target), "ttl")
    target = targets.get(kind, "")
    if body.text("AliasService"):
        kind, target = "alias", body.text("AliasService")
    if kind == "ttl" and ttl <= 0:
        raise RefusedError("Invalid check: TTL must be > 0 for TTL checks", HTTPStatus.BAD_REQUEST)
    if kind in targets and interval <= 0:
        raise RefusedError(
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            HTTPStatus.BAD_REQUEST,
        )
    return CheckPlan(
        id=check_id,
        kind=kind,
        service_id=service_id,
        target=target,
        interval=interval,
        timeout=body.seconds("Timeout") or 10.0,
        ttl=ttl,
        method=body.text("Method", "GET"),
        header=body.lists("Header"),
        body=body.text("Body"),
        skip_tls_verify=body.flag("TLSSkipVerify"),
        successes_before_passing=body.number("SuccessBeforePassing"),
        failures_before_critical=body.number("FailuresBeforeCritical"),
        deregister_after=body.seconds("DeregisterCriticalServiceAfter"),
    )


def _require_proxy_fields(found: Service) -> None:
    if found.kind != "connect-proxy":
        return
    problems = []
    if not found.proxy.get("DestinationServiceName"):
        problems.append("Proxy.DestinationServiceName must be non-empty for Connect proxy services")
    if found.port == 0:
        problems.append("Port must be set for a Connect proxy")
    if problems:
        plural = "" if len(problems) == 1 else "s"
        lines = "".join(f"\t* {problem}\n" for problem in problems)
        raise RefusedError(
            f"{len(problems)} error{plural} occurred:\n{lines}\n", HTTPStatus.BAD_REQUEST
        )


def _tagged(found: Service) -> dict[str, Any]:
    try:
        version = ipaddress.ip_address(found.address).version
    except ValueError:
        return {}
    place = {"Address": found.address, "Port": found.port}
    return {f"lan_ipv{version}": place, f"wan_ipv{version}": place}
