"""Names that the mesh has in Kubernetes, and which service a pod may be.

Two words must agree before a pod is a service: the namespace's, which the platform team gives,
and the ServiceAccount's.  Whoever may make pods in a namespace may use every ServiceAccount there,
so the namespace is the border between teams; the ServiceAccount keeps one pod's token from being
good for another pod's service.  Without a word nothing is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mesh.model import names

DOMAIN: Final = "mesh.internal"
"""What keys of labels and annotations begin with, and the group of custom resources."""

INJECT: Final = f"{DOMAIN}/inject"
"""Label of namespaces and pods: :data:`ENABLED` or :data:`DISABLED`; the pod's word counts."""
ENABLED: Final = "enabled"
DISABLED: Final = "disabled"
REVISION: Final = f"{DOMAIN}/revision"
"""Label of namespaces and pods: which injector, where there are several."""
INJECTED: Final = f"{DOMAIN}/injected"
"""Label of pods that have a proxy: the revision that it is of."""
SERVICE: Final = f"{DOMAIN}/service"
"""Annotation of pods and Services: the service of the mesh; a label once a pod is injected."""
SERVICES: Final = f"{DOMAIN}/services"
"""Annotation of namespaces and ServiceAccounts: which services their pods may be."""
PORT: Final = f"{DOMAIN}/port"
"""Annotation of pods: the application's port, by number or name; a number once injected."""
STATUS: Final = f"{DOMAIN}/status"
"""Annotation of injected pods: what was injected (JSON)."""
ROOTS: Final = f"{DOMAIN}/roots"
"""Annotation of injected pods: the mesh's roots (PEM)."""

SYSTEM_NAMESPACE: Final = "mesh-system"
ZONE: Final = "mesh-zone"
INJECTOR: Final = "mesh-injector"
GATEWAY: Final = "mesh-gateway"
"""Names of Deployment, Service and ServiceAccount, in :data:`SYSTEM_NAMESPACE`."""

CAPTURE_CONTAINER: Final = "mesh-capture"
PROXY_CONTAINER: Final = "mesh-proxy"
PROXY_UID: Final = 14_000
"""User and group of the proxy in a pod; no application may run as it."""
DEFAULT_CLUSTER: Final = "kubernetes"
DEFAULT_REVISION: Final = "default"


def audience(trust_domain: str) -> str:
    """Return whom ServiceAccount tokens for the mesh are for (their ``aud``)."""
    return f"spiffe://{trust_domain}"


def instance_id(cluster: str, namespace: str, pod: str) -> str:
    """Return the id of the service instance in ``pod``: no two pods of a zone share one.

    Neither a cluster's name nor a namespace's has a dot.
    """
    return f"{cluster}.{namespace}.{pod}"


def node_name(cluster: str, node: str) -> str:
    """Return the name of the Consul node that stands for a Kubernetes node."""
    return f"{cluster}-{node}"


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount, with the annotations of itself and of its namespace."""

    namespace: str
    name: str
    namespace_annotations: Mapping[str, str]
    annotations: Mapping[str, str]

    def refusal(self, service: str) -> str:
        """Return why its pods may not be ``service``, and what would allow it; else nothing."""
        if not _covered(self.namespace_annotations.get(SERVICES, ""), service):
            command = f"kubectl annotate --overwrite namespace {self.namespace}"
            return (
                f"pods of the namespace {self.namespace} may not be the service {service}: to allow"
                f" it, {command} {_annotation(self.namespace_annotations, service)}"
            )
        if not _covered(self.annotations.get(SERVICES, self.name), service):
            command = f"kubectl annotate --overwrite -n {self.namespace} serviceaccount {self.name}"
            return (
                f"pods of the ServiceAccount {self.namespace}/{self.name} may not be the service"
                f" {service}: run them as the ServiceAccount {service}, or, to allow it,"
                f" {command} {_annotation(self.annotations, service)}"
            )
        return ""


def _annotation(annotations: Mapping[str, str], service: str) -> str:
    """Return the argument by which ``service`` is one more of what ``annotations`` allow."""
    allowed = [*_listed(annotations.get(SERVICES, "")), service]
    return f"{SERVICES}={','.join(allowed)}"


def _covered(said: str, service: str) -> bool:
    """Whether ``said`` (names, or prefixes ending in ``*``, by commas) names ``service``."""
    return any(
        service.startswith(each[:-1]) if each.endswith("*") else service == each
        for each in _listed(said)
    )


def _listed(said: str) -> list[str]:
    return [each for part in said.split(",") if (each := part.strip())]


def service_of(annotations: Mapping[str, str], account: str) -> str:
    """Return the service that a pod with ``annotations`` says it is, run by ``account``.

    Raises:
        ValueError: it says none, or what is no service's name.

    """
    said = annotations.get(SERVICE, "" if account == "default" else account)
    if not said:
        raise ValueError(
            "the pod runs as the ServiceAccount default, which names no service: give it a"
            f" ServiceAccount named as its service, or the annotation {SERVICE}"
        )
    return names.service_name(said)
