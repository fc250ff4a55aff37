"""``docs/reference/settings.md``: every setting, read from the models."""

from __future__ import annotations

import builtins
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mesh.config import capture, proxy, ratelimit, zone
from mesh.config.capture import CaptureSettings
from mesh.config.proxy import ProxySettings
from mesh.config.ratelimit import RateLimitSettings
from mesh.config.types import HostPort, format_duration
from mesh.config.zone import ZoneSettings
from mesh.model.proxies import Role, Upstream
from tests.docs import meanings
from tests.docs.markdown import code, table

_HEAD: Final = ("Setting", "Type", "Default", "Meaning", "Variable")
_INTRODUCTION: Final = """\
# Settings

Each program reads one file, TOML, YAML or JSON by its suffix, and variables, which stand over the
file. A dot in a name below is a nested table. Unknown settings are refused; every violation is told
at once; and `--check-config` tells them without starting. Nothing secret is a setting: tokens and
keys are files.

A *duration* is seconds, `30s`, `24h`, `1h30m`, `90d` or ISO 8601. In a variable, a list is
separated by commas.

"""
_ZONE: Final = """\
## `mesh zone`

`mesh zone --config FILE`.

"""
_PROXY: Final = """
## `mesh proxy`

`mesh proxy --config FILE`. Options of the command stand over file and variables; see
[`mesh proxy`](cli.md#mesh-proxy).

"""
_RATELIMIT: Final = """
## `mesh ratelimit`

`mesh ratelimit run --config FILE`. Limits are no settings: they come with each request, from the
policies. Options of the command stand over file and variables; see
[`mesh ratelimit run`](cli.md#mesh-ratelimit-run).

"""
_CAPTURE: Final = """
## `mesh capture`

`mesh capture apply --config FILE`; see [the guide](../guides/capture.md). `[]` stands for each of a
list.

"""
_SAID_IN_WORDS: Final = {"data_dir": "`/var/lib/mesh` for root, else `~/.local/state/mesh`"}
_NAMES: Final[Mapping[object, str]] = {
    timedelta: "duration",
    Path: "path",
    HostPort: "host:port",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Upstream: "upstream",
    Role: " or ".join(f"`{role.value}`" for role in Role),
}


def page() -> str:
    """Return the page."""
    return (
        _INTRODUCTION
        + _ZONE
        + table(_HEAD, _rows(ZoneSettings, meanings.ZONE, zone.PREFIX))
        + _PROXY
        + table(_HEAD, _rows(ProxySettings, meanings.PROXY, proxy.PREFIX))
        + _RATELIMIT
        + table(_HEAD, _rows(RateLimitSettings, meanings.RATELIMIT, ratelimit.PREFIX))
        + _CAPTURE
        + table(_HEAD, _rows(CaptureSettings, meanings.CAPTURE, capture.PREFIX))
    )


def names(model: type[BaseModel]) -> list[str]:
    """Return the path of every setting of ``model``."""
    return [name for name, _, _ in settings(model)]


def settings(
    model: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None
) -> Iterator[tuple[str, object, str]]:
    """Yield name, annotation and default of every setting of ``model``.

    A section that may be left out is a setting itself.  ``defaults`` is what the section is by
    default, where it differs from what its model says.
    """
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        default = getattr(defaults, name) if defaults is not None else _default(field)
        if section is None or type(None) in get_args(field.annotation):
            yield f"{prefix}{name}", field.annotation, _written(default)
        if section is not None:
            below = default if isinstance(default, BaseModel) else None
            each = "[]" if _is_list(field.annotation) else ""
            yield from settings(section, f"{prefix}{name}{each}.", below)


def _rows(
    model: type[BaseModel], meaning: Mapping[str, str], prefix: str
) -> Iterator[tuple[str, ...]]:
    for name, annotation, default in settings(model):
        said = _SAID_IN_WORDS.get(name, default)
        has_none = _section(annotation) is not None or "[]" in name
        variable = "" if has_none else code(prefix + name.replace(".", "__").upper())
        yield code(name), _kind(annotation), said, meaning.get(name, ""), variable


def _section(annotation: object) -> type[BaseModel] | None:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is tuple


def _default(field: FieldInfo) -> object:
    if field.is_required():
        return PydanticUndefined
    return field.get_default(call_default_factory=True, validated_data={})


def _written(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}, ""):
        return ""
    return code(format_duration(value) if isinstance(value, timedelta) else str(value))


def _kind(annotation: object) -> str:
    parts = get_args(annotation)
    match get_origin(annotation):
        case typing.Annotated:
            found = _kind(parts[0])
        case typing.Union | types.UnionType:
            found = " or ".join(_kind(part) for part in parts if part is not type(None))
        case typing.Literal:
            found = ", ".join(code(str(part)) for part in parts)
        case builtins.tuple:
            found = f"list of {_kind(parts[0])}"
        case builtins.dict:
            found = f"table of {_kind(parts[1])}"
        case _:
            found = "section" if _section(annotation) is not None else _NAMES[annotation]
    return found
