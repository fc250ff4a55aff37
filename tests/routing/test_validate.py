"""What is wrong with policies together: each fault said once, of the document to blame."""

from __future__ import annotations

import yaml

from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.services import Protocol
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.routing.validate import violations

ENTRIES = Entries(service_defaults={"api": ServiceDefaults("api", Protocol.HTTP)})
BROKEN = """\
type: MeshHTTPRoute
name: broken
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - default: {backendRefs: [{kind: MeshService, name: db}]}
"""
OTHER = """\
type: MeshHTTPRoute
name: other
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /v9}}]
          default: {backendRefs: [{kind: MeshService, name: api, subset: v9}]}
"""
TIMEOUT = """\
type: MeshTimeout
name: quick
spec: {to: [{targetRef: {kind: MeshService, name: api}, default: {http: {requestTimeout: 1s}}}]}
"""
RETRY = """\
type: MeshRetry
name: again
spec: {to: [{targetRef: {kind: MeshService, name: api}, default: {http: {perTryTimeout: 2s}}}]}
"""


def found(*texts: str, entries: Entries | None = ENTRIES) -> list[str]:
    documents = [parse(yaml.safe_load(text), KINDS) for text in texts]
    said = violations(entries, {each.key: each for each in documents})
    return [f"{label}: {violation}" for label, violation in said]


def test_a_fault_is_said_of_the_document_to_blame_and_of_no_other() -> None:
    (said,) = found(BROKEN, TIMEOUT)
    assert said.startswith("MeshHTTPRoute broken: spec.to[0]: db speaks tcp")


def test_one_broken_document_hides_nothing_of_the_others() -> None:
    said = found(BROKEN, OTHER, TIMEOUT, RETRY)
    assert [each.split(": ")[0] for each in said] == [
        "MeshHTTPRoute broken",
        "MeshHTTPRoute other",
        "MeshRetry again",
    ]
    assert 'no subset "v9"' in said[1]
    assert "a try of 2 s" in said[2]


def test_without_a_zone_only_the_documents_themselves_are_held() -> None:
    assert found(BROKEN, OTHER, entries=None) == []


def test_a_guard_of_requests_at_a_service_that_has_none_is_told() -> None:
    guard = """\
type: MeshRequestAuthentication
name: users
spec:
  targetRef: {kind: Dataplane, labels: {service: db}}
  rules: [{default: {providers: [corporate]}}]
"""
    (said,) = found(guard)
    assert said.startswith("MeshRequestAuthentication users: spec.rules: db speaks tcp")
    assert found(guard.replace("db", "api")) == []
    assert found(guard, entries=None) == []
