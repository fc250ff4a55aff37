"""Files of an egress gateway's host, with whom to believe and what to show outside the mesh.  Pure.

The zone sends each as a secret that refers to the file by its name below the linked directory, so
that Envoy reads it again when it is replaced.  The secret's name says which file it is; from that
alone a configuration can be made that needs no zone (:mod:`mesh.agent.lastgood`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mesh.envoy.files import OUTSIDE_FILES

_AUTHORITY: Final = "file:authority:"
_PAIR: Final = "file:pair:"
_COMBINED: Final = "combined_validation_context"
_PAIRS: Final = "tls_certificate_sds_secret_configs"


def authority(file: str) -> str:
    """Return the name of the secret with the authorities in ``file``."""
    return f"{_AUTHORITY}{file}"


def pair(certificate: str, key: str) -> str:
    """Return the name of the secret with a certificate and its key."""
    return f"{_PAIR}{certificate}:{key}"


def path(file: str) -> str:
    """Return where Envoy finds ``file``."""
    return f"{OUTSIDE_FILES}/{file}"


def without_secrets(common: Mapping[str, Any]) -> dict[str, Any]:
    """Return a TLS context (JSON) that refers to files where it referred to secrets of files."""
    result = dict(common)
    combined = result.get(_COMBINED, {})
    name = str(combined.get("validation_context_sds_secret_config", {}).get("name", ""))
    if name.startswith(_AUTHORITY):
        del result[_COMBINED]
        result["validation_context"] = {
            **combined.get("default_validation_context", {}),
            "trusted_ca": {"filename": path(name.removeprefix(_AUTHORITY))},
        }
    names = [str(one.get("name", "")) for one in result.get(_PAIRS, ())]
    if any(one.startswith(_PAIR) for one in names):
        del result[_PAIRS]
        result["tls_certificates"] = [_files(one) for one in names]
    return result


def _files(name: str) -> dict[str, Any]:
    certificate, _, key = name.removeprefix(_PAIR).partition(":")
    return {
        "certificate_chain": {"filename": path(certificate)},
        "private_key": {"filename": path(key)},
    }
