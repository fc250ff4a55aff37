"""From a file and the environment to one frozen model, or to every violation at once.

What is given on the command line stands over the environment, the environment over the file.
The file is TOML or YAML, told apart by its suffix.  A variable is the prefix and the path of
the setting joined by two underscores: ``MESH_ZONE__LISTEN__API``.  This is the only module that
looks at the environment.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from mesh.config import types
from mesh.model.violations import InvalidInputError, Report, Violation

NESTING: Final = "__"
"""What joins the parts of a variable's name."""

_Model = TypeVar("_Model", bound=BaseModel)
_Reader = Callable[[str], object]
_READERS: Final[Mapping[str, _Reader]] = {
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".json": yaml.safe_load,
}


def load(
    model: type[_Model],
    *,
    prefix: str,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> _Model:
    """Read the settings of one program.

    Args:
        model: what they must be.
        prefix: how the program's variables begin, its separator included: ``MESH_ZONE__``.
        file: the settings file, if one is named.
        overrides: what the command line says; nested like the model.

    Raises:
        InvalidInputError: with every violation of the merged settings.

    """
    sources = f"{file} and {prefix}* variables" if file else f"{prefix}* variables"
    subject = f"the configuration ({sources})"
    merged: dict[str, Any] = {}
    _merge(merged, read_file(file) if file else {})
    _merge(merged, _environment(model, prefix, subject))
    _merge(merged, overrides or {})
    return validate(model, merged, subject)


def read_file(file: Path) -> Mapping[str, Any]:
    """Read a TOML, YAML or JSON file whose top level is a table.

    Raises:
        InvalidInputError: it cannot be read, or is not what its suffix says.

    """
    report = Report(str(file))
    reader = _READERS.get(file.suffix)
    content: object = {}
    if reader is None:
        report.add("", f"unknown suffix {file.suffix!r}: use .toml, .yaml or .json")
    else:
        try:
            content = reader(file.read_text(encoding="utf-8"))
        except OSError as error:
            report.add("", f"cannot be read: {error.strerror or error}")
        except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
            report.add("", f"is not {file.suffix[1:].upper()}: {error}")
    content = {} if content is None else content
    if not isinstance(content, dict):
        report.add("", "expected a table of settings at the top level")
    report.close()
    return content if isinstance(content, dict) else {}


def validate(model: type[_Model], raw: Mapping[str, Any], subject: str) -> _Model:
    """Parse ``raw`` strictly.

    Raises:
        InvalidInputError: with every violation, each at its path.

    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = tuple(
            violation
            for detail in error.errors(include_url=False)
            for violation in _violations(model, detail)
        )
        raise InvalidInputError(subject, found) from error


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        below = target.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _merge(below, value)
        elif isinstance(value, Mapping):
            target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value


class _Environment(EnvSettingsSource):
    """The variables of one program; one that names no setting is passed on, to be refused."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        known = {name.lower() for name in self.settings_cls.model_fields}
        for variable, value in self.env_vars.items():
            prefixed = variable.lower()
            if prefixed.startswith(self.env_prefix.lower()):
                first = prefixed[len(self.env_prefix) :].split(NESTING)[0]
                if first not in known:
                    found[first] = value
        return found


def _environment(model: type[BaseModel], prefix: str, subject: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in model.model_fields.items()
    }
    settings = create_model(model.__name__, __base__=BaseSettings, **fields)
    source = _Environment(settings, env_prefix=prefix, env_nested_delimiter=NESTING)
    try:
        return source()
    except SettingsError as error:
        raise InvalidInputError(subject, (Violation(f"{prefix}*", str(error)),)) from error


def _violations(model: type[BaseModel], detail: ErrorDetails) -> list[Violation]:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]
    ).lstrip(".")
    match detail["type"]:
        case types.INCONSISTENT:
            found = detail["ctx"]["violations"]
            return [Violation(f"{path}.{at}".strip("."), message) for at, message in found]
        case "extra_forbidden":
            message = "unknown setting" + _suggestion(model, detail["loc"])
        case "missing":
            message = "is required"
        case _:
            message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return [Violation(path, message)]


def _suggestion(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    known = set(model.model_fields)
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        nested = [
            candidate
            for candidate in _models(field.annotation if field else None)
            if str(location[-1]) not in candidate.model_fields
        ]
        if not nested:
            break
        model = nested[0]
        known = set(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), sorted(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f": known are {', '.join(sorted(known))}"


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models(part)]
