"""Entries by which calls are routed and split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mesh.sources.consul import entries
from tests.docs.consul_samples.sampled import EDITS, Json, Sampled


def _route(match: Json) -> Json:
    return {"Kind": "service-router", "Name": "api", "Routes": [{"Match": {"HTTP": match}}]}


SAMPLED: Final[Sequence[Sampled]] = (
    Sampled(
        entries.SERVICE_ROUTER,
        entries.parse_router,
        [
            {
                "Kind": "service-router",
                "Name": "api",
                "Routes": [
                    {
                        "Match": {
                            "HTTP": {
                                "PathPrefix": "/v1",
                                "CaseInsensitive": True,
                                "Methods": ["GET"],
                                "Header": [
                                    {
                                        "Name": "x-a",
                                        "Exact": "1",
                                        "Invert": True,
                                        "IgnoreCase": True,
                                    }
                                ],
                                "QueryParam": [{"Name": "q", "Exact": "1"}],
                            }
                        },
                        "Destination": {
                            "Service": "other",
                            "ServiceSubset": "v1",
                            "PrefixRewrite": "/",
                            "RequestTimeout": "9s",
                            "IdleTimeout": "8s",
                            "NumRetries": 3,
                            "RetryOn": ["reset"],
                            "RetryOnConnectFailure": True,
                            "RetryOnStatusCodes": [503],
                            "RequestHeaders": EDITS,
                            "ResponseHeaders": EDITS,
                        },
                    }
                ],
            },
            _route({"PathExact": "/"}),
            _route({"PathRegex": "/[0-9]+"}),
            *(
                _route({"Header": [{"Name": "x", condition: value}]})
                for condition, value in (
                    ("Present", True),
                    ("Prefix", "a"),
                    ("Suffix", "a"),
                    ("Contains", "a"),
                    ("Regex", "a"),
                )
            ),
            _route({"QueryParam": [{"Name": "q", "Present": True}]}),
            _route({"QueryParam": [{"Name": "q", "Regex": "a"}]}),
        ],
        {
            ("Routes", 0, "Match", "HTTP", "PathRegex"): "(?=a)",
            ("Routes", 0, "Destination", "RequestHeaders", "Set", "Host"): "x",
        },
        {
            "Routes[].Match.HTTP.PathRegex": "RE2, for the whole path. Consul accepts what RE2 "
            "does not; the mesh refuses it.",
            "Routes[].Destination.RequestTimeout": "A negative one is none.",
            "Routes[].Destination.NumRetries": "Without a condition beside it nothing is tried "
            "again, as in Consul.",
        },
    ),
    Sampled(
        entries.SERVICE_SPLITTER,
        entries.parse_splitter,
        [
            {
                "Kind": "service-splitter",
                "Name": "api",
                "Splits": [
                    {
                        "Weight": 90,
                        "Service": "other",
                        "ServiceSubset": "v1",
                        "RequestHeaders": EDITS,
                        "ResponseHeaders": EDITS,
                    },
                    {"Weight": 10},
                ],
            }
        ],
        {("Splits", 0, "Weight"): 80},
        {"Splits[].Weight": "To a hundredth; all of them must sum to 100."},
    ),
)
