"""Files of an egress gateway in its last known good configuration."""

from __future__ import annotations

from typing import Any

from mesh.envoy.outside_files import authority, pair, without_secrets

_ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


def test_secrets_of_files_become_files() -> None:
    context = {
        "tls_params": {},
        "tls_certificate_sds_secret_configs": [
            {"name": pair("tls/c.pem", "tls/c.key"), "sds_config": _ADS}
        ],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": ["m"]},
            "validation_context_sds_secret_config": {
                "name": authority("ca.pem"),
                "sds_config": _ADS,
            },
        },
    }
    assert without_secrets(context) == {
        "tls_params": {},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": "outside/tls/c.pem"},
                "private_key": {"filename": "outside/tls/c.key"},
            }
        ],
        "validation_context": {
            "match_typed_subject_alt_names": ["m"],
            "trusted_ca": {"filename": "outside/ca.pem"},
        },
    }


def test_other_secrets_stay() -> None:
    context = {"tls_certificate_sds_secret_configs": [{"name": "identity"}], "name": "x"}
    assert without_secrets(context) == context
