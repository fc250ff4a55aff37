"""Certificates for clients of an edge gateway, from Vault to Envoy, by this host alone.

Envoy's listeners name what they need; Envoy asks the agent for it over a Unix socket in the state
directory (:mod:`~mesh.agent.certificates.discovery`), and so the agent learns what to fetch.
:mod:`~mesh.agent.certificates.keeper` fetches it from Vault
(:mod:`~mesh.agent.certificates.vault`, within one
:mod:`~mesh.agent.certificates.session`), keeps a copy in the state directory
(:mod:`~mesh.agent.certificates.copies`) for the day when Vault does not answer, and renews it in
time.  The zone never sees a certificate, and no key leaves here.
"""

from mesh.agent.certificates.discovery import serve
from mesh.agent.certificates.keeper import Certificates

__all__ = ["Certificates", "serve"]
