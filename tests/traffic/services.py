"""The services of the estate for traffic tests, and who calls them."""

from __future__ import annotations

CALLERS = ("web", "admin")
PROTOCOLS = {"api": "http", "spare": "http", "greeter": "grpc", "store": "tcp"}
"""What each service speaks."""
OUTSIDE = "outside"
INSTANCES = {
    "api-1": ("api", "v1", "here"),
    "api-2": ("api", "v1", "there"),
    "api-3": ("api", "v2", "there"),
    "spare-1": ("spare", "v1", "here"),
    "greeter-1": ("greeter", "v1", "here"),
    "greeter-2": ("greeter", "v2", "there"),
    "store-1": ("store", "v1", "here"),
    "store-2": ("store", "v2", "there"),
}
"""Each instance's service, version and locality."""
SUBSETS = {version: {"Filter": f"Service.Meta.version == {version}"} for version in ("v1", "v2")}
"""``Subsets`` for a service-resolver of any of them."""
