"""Names of the files that agent and rendered configuration agree on.

Envoy runs with the proxy's state directory as its working directory and reads its secrets by
relative path, so that rendered bytes are equal for all proxies (see ADR 0004).
"""

from __future__ import annotations

from typing import Final

IDENTITY_SECRET: Final = "identity"
"""Name of the SDS secret with the SVID and its key."""
IDENTITY_SDS: Final = "identity.json"
"""File with the SDS resource of that name."""
BUNDLE_SECRET: Final = "bundle"
"""Name of the SDS secret with the trust bundle (a validation context)."""
BUNDLE_SDS: Final = "bundle.json"
"""File with the SDS resource of that name."""
BUNDLE_FILE: Final = "bundle.pem"
"""PEM file with the roots, which secrets sent by the zone refer to."""
WATCHED_DIRECTORY: Final = "."
"""Directory whose renames tell Envoy to read both again."""
XDS_CLUSTER: Final = "mesh:zone"
"""Name of the bootstrap's cluster that reaches the zone's xDS server; no service is called so."""
AGENT_CLUSTER: Final = "mesh:agent"
"""Name of the bootstrap's cluster that reaches the agent of an edge gateway."""
CERTIFICATES_SOCKET: Final = "certificates.sock"
"""Unix socket on which that agent tells Envoy the certificates for clients."""
EDGE_HEALTH_PATH: Final = "/ready"
"""What an edge gateway's Envoy answers on the gateway's own port, for load balancers."""
OUTSIDE_FILES: Final = "outside"
"""Link to the directory with an egress gateway's files for servers outside the mesh."""
SYSTEM_ROOTS: Final = "system-roots.pem"
"""Link to whom the operating system believes.  (Envoy 1.40 refuses to verify a name by
``system_root_certs``.)"""
