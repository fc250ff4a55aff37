"""Nodes, services and checks: registering and deregistering them within a transaction."""

from __future__ import annotations

import uuid

import msgspec

from mesh.embedded import sessions
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Check, Node, Service
from mesh.embedded.store import (
    CHECKS,
    NODES,
    SERVICES,
    Transaction,
    checks_topic,
    connect_topic,
    instance,
    node_checks_topic,
    node_topic,
    service_topic,
)

STATUSES = frozenset({"passing", "warning", "critical"})


def put_node(tx: Transaction, node: Node) -> Node:
    """Register ``node``; one that has the same id under another name is replaced."""
    if node.id:
        _check_id(node.id)
        for other in tx.store.nodes.by("id", node.id):
            if other.name != node.name:
                delete_node(tx, other.name)
    written = tx.put(tx.store.nodes, node)
    if written.modify_index == tx.index:
        tx.touch(NODES, node_topic(node.name))
        _touch_services_of(tx, node.name)
    return written


def put_service(tx: Transaction, service: Service) -> Service:
    """Register ``service`` on its node, which must be there."""
    if not service.name:
        raise RefusedError("Must provide service name with ID")
    if tx.store.nodes.get(service.node) is None:
        raise RefusedError("Missing node registration")
    former = tx.store.services.get(*service.key)
    written = tx.put(tx.store.services, service)
    if written.modify_index == tx.index:
        tx.touch(SERVICES, node_topic(service.node))
        _touch_service(tx, written)
        if former is not None:
            _touch_service(tx, former)
    return written


def put_check(tx: Transaction, check: Check) -> Check:
    """Register ``check``, or its new state, on a node or on one of the node's services."""
    if tx.store.nodes.get(check.node) is None:
        raise RefusedError("Missing node registration")
    if check.service_id:
        service = tx.store.services.get(check.node, check.service_id)
        if service is None:
            raise RefusedError("Missing service registration")
        check = msgspec.structs.replace(check, service_name=service.name, service_tags=service.tags)
    former = tx.store.checks.get(*check.key)
    written = tx.put(tx.store.checks, check)
    if written.modify_index == tx.index:
        _touch_check(tx, written)
        if former is not None and former.service_id != written.service_id:
            _touch_check(tx, former)
        if written.status == "critical":
            sessions.invalidate_by_check(tx, written)
    return written


def delete_check(tx: Transaction, node: str, check_id: str) -> None:
    """Deregister a check; sessions that rest on it end."""
    former = tx.delete(tx.store.checks, node, check_id)
    if former is not None:
        _touch_check(tx, former)
        sessions.invalidate_by_check(tx, former)


def delete_service(tx: Transaction, node: str, service_id: str) -> None:
    """Deregister a service and its checks."""
    service = tx.store.services.get(node, service_id)
    if service is None:
        return
    for check in checks_of(tx, node, service_id):
        delete_check(tx, node, check.id)
    tx.delete(tx.store.services, node, service_id)
    tx.touch(SERVICES, node_topic(node))
    _touch_service(tx, service)


def delete_node(tx: Transaction, name: str) -> None:
    """Deregister a node with its services, checks and sessions."""
    if tx.store.nodes.get(name) is None:
        return
    for session in tx.store.sessions.by("node", name):
        sessions.destroy(tx, session.id)
    for service in tx.store.services.by("node", name):
        delete_service(tx, name, service.id)
    for check in tx.store.checks.by("node", name):
        delete_check(tx, name, check.id)
    tx.delete(tx.store.nodes, name)
    tx.touch(NODES, node_topic(name))


def checks_of(tx: Transaction, node: str, service_id: str) -> list[Check]:
    """Return the checks of one service on one node."""
    return tx.store.checks.by("instance", instance(node, service_id))


def _check_id(value: str) -> None:
    try:
        uuid.UUID(value)
    except ValueError as error:
        raise RefusedError(f"Bad node ID: {error}") from error


def _touch_service(tx: Transaction, service: Service) -> None:
    tx.touch(service_topic(service.name))
    if service.connects_to:
        tx.touch(connect_topic(service.connects_to))


def _touch_services_of(tx: Transaction, node: str) -> None:
    for service in tx.store.services.by("node", node):
        _touch_service(tx, service)


def _touch_check(tx: Transaction, check: Check) -> None:
    tx.touch(CHECKS, node_checks_topic(check.node))
    if not check.service_id:
        _touch_services_of(tx, check.node)
        return
    tx.touch(checks_topic(check.service_name))
    service = tx.store.services.get(check.node, check.service_id)
    if service is not None:
        _touch_service(tx, service)
