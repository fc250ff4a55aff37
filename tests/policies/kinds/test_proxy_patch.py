"""MeshProxyPatch: documents, and what they make of the resources that the mesh builds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.envoy import cluster, endpoint, http, listener, tls
from mesh.envoy.resource import CLUSTER, LISTENER, Resource, pack, unpack
from mesh.envoy.routes import route_table
from mesh.model.destinations import Destination, Selection, Settings, Target
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Route, Share
from mesh.policies.kinds import timeout
from mesh.policies.kinds.proxy_patch import (
    KIND,
    Patch,
    PatchError,
    apply,
    patches,
    protobuf_json,
)
from tests.identities import identities
from tests.policies.kinds.reading import document, violations

_RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def _resources() -> tuple[Resource, ...]:
    api = Destination(Selection(Target("api")), Protocol.HTTP, Settings())
    routes = [Route(EVERYTHING, Forward((Share(Target("api")),)))]
    manager = http.outbound_manager("web", route="api")
    built = listener.listener(
        "api",
        address="127.0.0.1",
        port=9000,
        filters=[manager],
        direction=listener.TrafficDirection.OUTBOUND,
    )
    return (
        pack("api", cluster.of_destination(api, identities("z", "mesh"))),
        pack("app", cluster.of_address("app", address="::1", port=1, protocol=Protocol.TCP)),
        pack("api", endpoint.assignment_of("api", "192.0.2.1", 80)),
        pack("api", built),
        pack("api", route_table("api", routes)),
        pack("peers", tls.peers("peers", identity_regex="spiffe://mesh/.*")),
    )


def _patches(modifications: str) -> tuple[Patch, ...]:
    lines = "\n".join(f"    {line}" for line in modifications.splitlines())
    return patches(document(KIND, f"default:\n  appendModifications:\n{lines}", name="tune"))


def _applied(modifications: str) -> tuple[Resource, ...]:
    return apply(_patches(modifications), _resources())


def _found(resources: tuple[Resource, ...], type_url: str, name: str) -> Any:
    (found,) = [one for one in resources if (one.type_url, one.name) == (type_url, name)]
    return unpack(found)


def test_a_json_patch_changes_what_it_names_and_nothing_else() -> None:
    before = _resources()
    after = _applied(
        """
        - cluster:
            operation: Patch
            match: {name: api}
            jsonPatches:
              - {op: replace, path: /connectTimeout, value: 0.250s}
              - {op: add, path: /perConnectionBufferLimitBytes, value: 4096}
              - {op: test, path: /type, value: EDS}
        """
    )
    changed = _found(after, CLUSTER, "api")
    assert changed.connect_timeout.ToMilliseconds() == 250
    assert changed.per_connection_buffer_limit_bytes.value == 4096
    assert after[0].version != before[0].version
    assert all(old is new or old == new for old, new in zip(before[1:], after[1:], strict=True))


def test_without_a_name_every_resource_of_the_type_is_meant() -> None:
    after = _applied("- cluster: {operation: Patch, value: {lbPolicy: RANDOM}}")
    assert {_found(after, CLUSTER, name).lb_policy for name in ("api", "app")} == {3}


def test_being_written_and_read_changes_no_resource() -> None:
    for one in _resources():
        read = protobuf_json.read(one.type_url, protobuf_json.write(unpack(one)))
        assert pack(one.name, read) == one


def test_a_value_is_merged_and_single_values_are_replaced() -> None:
    after = _applied(
        f"""
        - cluster:
            operation: Patch
            match: {{name: api}}
            value: |
              connect_timeout: 0.5s
              upstreamConnectionOptions:
                tcpKeepalive: {{keepaliveProbes: 0}}
              transportSocket:
                typedConfig:
                  "@type": {_RAW}
        """
    )
    changed = _found(after, CLUSTER, "api")
    assert changed.connect_timeout.ToMilliseconds() == 500
    keepalive = changed.upstream_connection_options.tcp_keepalive
    assert (keepalive.keepalive_probes.value, keepalive.keepalive_time.value) == (0, 30)
    assert changed.transport_socket.name == "envoy.transport_sockets.tls"
    assert changed.transport_socket.typed_config.type_url.endswith("RawBuffer")
    assert changed.transport_socket.typed_config.value == b""


def test_lists_grow_by_a_merged_value() -> None:
    after = _applied(
        """
        - endpoints:
            operation: Patch
            value:
              endpoints: [{priority: 1}]
        """
    )
    assert [group.priority for group in unpack(after[2]).endpoints] == [0, 1]


def test_an_extension_that_the_mesh_never_uses_can_be_added() -> None:
    after = _applied(
        f"""
        - listener:
            operation: Patch
            match: {{name: api}}
            jsonPatches:
              - op: add
                path: /filterChains/0/filters/0/typedConfig/httpFilters/0
                value:
                  name: lua
                  typedConfig:
                    "@type": {_LUA}
                    defaultSourceCode: {{inlineString: "-- nothing"}}
        """
    )
    manager = _found(after, LISTENER, "api").filter_chains[0].filters[0].typed_config
    assert _LUA.encode() in manager.value


def test_resources_are_removed_and_added_in_order() -> None:
    after = _applied(
        """
        - cluster: {operation: Remove, match: {name: app}}
        - route: {operation: Remove}
        - secret: {operation: Remove, match: {name: other}}
        - cluster: {operation: Add, value: {name: app, type: STATIC, connectTimeout: 1s}}
        - cluster: {operation: Patch, match: {name: app}, value: {lbPolicy: MAGLEV}}
        """
    )
    assert [(one.type_url.rpartition(".")[2], one.name) for one in after] == [
        ("Cluster", "api"),
        ("ClusterLoadAssignment", "api"),
        ("Listener", "api"),
        ("Secret", "peers"),
        ("Cluster", "app"),
    ]
    assert unpack(after[-1]).lb_policy == 5


def test_resources_that_no_patch_matches_are_the_same_objects() -> None:
    resources = _resources()
    found = _patches(
        "- cluster: {operation: Patch, match: {name: other}, value: {lbPolicy: RANDOM}}"
    )
    assert apply(found, resources) is resources


def _edited(edit: str) -> str:
    return f"cluster: {{operation: Patch, match: {{name: api}}, jsonPatches: [{edit}]}}"


_ALIEN = """listener:
    operation: Patch
    jsonPatches:
      - {op: replace, path: /filterChains/0/filters/0/typedConfig/@type, value: a/os.path}
"""


@pytest.mark.parametrize(
    ("modification", "reason"),
    [
        (
            _edited("{op: remove, path: /dnsLookupFamily}"),
            "jsonPatches[0] (remove /dnsLookupFamily): can't remove a non-existent object",
        ),
        (_edited("{op: add, path: /colour, value: red}"), 'no field named "colour"'),
        (_edited("{op: replace, path: /name, value: b}"), "its name cannot become 'b'"),
        (_edited("{op: replace, path: '', value: 1}"), "is no object"),
        (_ALIEN, "is no type of Envoy's API"),
        ("cluster: {operation: Add, value: {name: api}}", "already there"),
    ],
)
def test_an_error_names_policy_resource_and_reason(modification: str, reason: str) -> None:
    with pytest.raises(PatchError) as refused:
        _applied(f"- {modification}")
    assert str(refused.value).startswith("MeshProxyPatch tune cannot be applied to ")
    assert reason in refused.value.reason
    assert refused.value.policy == "MeshProxyPatch tune"
    assert "'api'" in refused.value.resource


def test_another_kind_of_document_has_no_patches() -> None:
    other = document(timeout.KIND, "to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 1s}}]")
    with pytest.raises(TypeError, match="MeshTimeout one"):
        patches(other)


def test_the_shape_of_a_document_is_checked_as_a_whole() -> None:
    found = violations(
        KIND,
        """
        to: []
        default:
          appendModifications:
            - {}
            - {cluster: {operation: Remove}, route: {operation: Remove}}
            - cluster: {operation: Patch}
            - cluster: {operation: Remove, value: {name: a}}
            - cluster: {operation: Add, match: {name: a}, value: {name: a}}
            - cluster: {operation: Replace, match: {name: ""}, value: "a: [", jsonPatches: []}
            - cluster: {operation: Add, value: "just text"}
            - cluster:
                operation: Patch
                jsonPatches:
                  - {op: add, path: /a}
                  - {op: remove, path: a, value: 1}
                  - {op: move, path: /a}
                  - {op: copy, path: /a, from: /~3}
                  - {op: test, path: /a, value: 1, from: /b}
                  - {op: merge, path: /a}
            - virtualHost: {operation: Remove}
        """,
    )
    base = "spec.default.appendModifications"
    assert set(found) == {
        "spec.to",
        f"{base}[0]",
        f"{base}[1]",
        f"{base}[2].cluster",
        f"{base}[3].cluster",
        f"{base}[4].cluster",
        f"{base}[5].cluster.operation",
        f"{base}[5].cluster.match.name",
        f"{base}[5].cluster.value",
        f"{base}[5].cluster.jsonPatches",
        f"{base}[6].cluster.value",
        f"{base}[7].cluster.jsonPatches[0]",
        f"{base}[7].cluster.jsonPatches[1].path",
        f"{base}[7].cluster.jsonPatches[2]",
        f"{base}[7].cluster.jsonPatches[3].from",
        f"{base}[7].cluster.jsonPatches[4]",
        f"{base}[7].cluster.jsonPatches[5].op",
        f"{base}[8].virtualHost",
    }


def test_values_are_checked_against_envoys_api() -> None:
    found = violations(
        KIND,
        """
        default:
          appendModifications:
            - cluster: {operation: Patch, value: {colour: red}}
            - cluster: {operation: Patch, value: {connectTimeout: soon}}
            - listener: {operation: Patch, value: {address: 1}}
            - endpoints: {operation: Add, value: {endpoints: []}}
            - cluster: {operation: Patch, match: {name: a}, value: {name: b}}
            - cluster: {operation: Patch, match: {name: a}, value: {name: a, lbPolicy: LATER}}
            - cluster:
                operation: Patch
                value: {transportSocket: {typedConfig: {"@type": a/envoy.extensions.none.v3.No}}}
        """,
    )
    base = "spec.default.appendModifications"
    kinds = ["cluster", "cluster", "listener", "endpoints", "cluster", "cluster", "cluster"]
    assert set(found) == {f"{base}[{index}].{kind}.value" for index, kind in enumerate(kinds)}
    assert "no field named" in found[f"{base}[0].cluster.value"]


def test_the_example_fits_what_the_mesh_builds() -> None:
    raw = yaml.safe_load(KIND.example)
    found = patches(document(KIND, yaml.safe_dump(raw["spec"])))
    changed = _found(apply(found, _resources()), CLUSTER, "api")
    assert changed.upstream_connection_options.tcp_keepalive.keepalive_time.value == 60
