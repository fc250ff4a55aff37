"""The API's OpenAPI 3.1 document, written from the routes themselves.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from mesh.controlplane.api.model import ErrorBody
from mesh.controlplane.api.route import AnyRoute, Caller, Reads

_PARAMETER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_SECURITY: Final[dict[Caller, list[dict[str, list[str]]]]] = {
    Caller.ANYBODY: [],
    Caller.WORKLOAD: [{"workload": []}],
    Caller.ADMIN: [{"admin": []}],
    # The token stands in the body.
    Caller.INVITED: [],
    Caller.PEER: [{"peer": []}],
}
_SCHEMES: Final = {
    "peer": {
        "type": "mutualTLS",
        "description": "A peer's control plane, by its own name of the peering.",
    },
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "The content of the zone's admin token file.",
    },
    "workload": {
        "type": "mutualTLS",
        "description": "The workload's current certificate (SVID).",
    },
}
_Refer = Callable[[type[BaseModel], JsonSchemaMode], dict[str, Any]]


def document(routes: Iterable[AnyRoute]) -> dict[str, Any]:
    """Describe ``routes``."""
    routes = list(routes)
    keys: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
    for route in routes:
        keys[(route.answer, "serialization")] = None
        if route.reads is not Reads.NOTHING:
            keys[(route.request, "validation")] = None
    references, schemas = models_json_schema(
        list(keys), ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        operations[route.method.lower()] = _operation(
            route, lambda model, mode: references[(model, mode)]
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "mesh zone", "version": version("consul-mesh")},
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {}), "securitySchemes": _SCHEMES},
    }


def _operation(route: AnyRoute, refer: _Refer) -> dict[str, Any]:
    def content(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
        return {"application/json": {"schema": refer(model, mode)}}

    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": _SECURITY[route.caller],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(route.path)
        ],
        "responses": {
            str(route.status): {
                "description": _description(route.answer),
                "content": content(route.answer, "serialization"),
            },
            "default": {
                "description": "What failed, and what to do.",
                "content": content(ErrorBody, "serialization"),
            },
        },
    }
    if route.reads is Reads.BODY:
        operation["requestBody"] = {
            "required": True,
            "content": content(route.request, "validation"),
        }
    elif route.reads is Reads.QUERY:
        schema = route.request.model_json_schema()
        operation["parameters"] += [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": each,
            }
            for name, each in schema["properties"].items()
        ]
    return operation


def _description(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]
