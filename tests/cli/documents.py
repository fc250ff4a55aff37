"""Policies that the commands are given."""

from __future__ import annotations

SLOW = """\
type: MeshTimeout
name: slow
spec:
  targetRef: {kind: Dataplane, labels: {service: web}}
  to:
    - targetRef: {kind: MeshService, name: api}
      default: {idleTimeout: 5s}
"""


QUICK = """\
type: MeshTimeout
name: quick
spec:
  to:
    - targetRef: {kind: Mesh}
      default: {idleTimeout: 1s}
"""


ROUTE = """\
type: MeshHTTPRoute
name: v2
spec:
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches: [{path: {type: PathPrefix, value: /v2}}]
          default:
            backendRefs: [{kind: MeshService, name: api, weight: 1}]
"""
