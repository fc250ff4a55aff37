"""Files of documents, read as strictly as JSON: each document, and the line at which it begins.

YAML reads more than JSON can say: dates, sets, keys given twice, keys that are no text.  What
JSON cannot hold is refused here, so that a document means the same wherever it goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mesh.cli.arguments import refused

STDIN: Final = Path("-")

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """Write it as compilers do."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document as it was written, or why it cannot be read."""

    place: Place
    value: object = None
    wrong: str = ""


def load(paths: Iterable[Path]) -> list[Loaded]:
    """Read every document of files, of the files in directories, and of stdin (``-``).

    Raises:
        InvalidInputError: a file cannot be opened.

    """
    return [loaded for path in paths for file in _files(path) for loaded in _load(file)]


def _files(path: Path) -> list[Path]:
    if path == STDIN or not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES and each.is_file())
    if not found:
        raise refused(f"the directory {path}", "holds no .yaml, .yml or .json file")
    return found


def _load(file: Path) -> list[Loaded]:
    name = "stdin" if file == STDIN else str(file)
    try:
        text = sys.stdin.read() if file == STDIN else file.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise refused(f"the file {name}", reason) from error
    except UnicodeDecodeError:
        return [Loaded(Place(name), wrong="is not text in UTF-8")]
    found: list[Loaded] = []
    try:
        found += _documents(text, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        what = f"is neither YAML nor JSON: {error.problem or error}"
        found.append(Loaded(Place(name, line), wrong=what))
    except yaml.YAMLError as error:
        found.append(Loaded(Place(name), wrong=f"is neither YAML nor JSON: {error}"))
    return found or [Loaded(Place(name), wrong="holds no document")]


def _documents(text: str, name: str) -> Iterator[Loaded]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            # A list of documents is several documents too.
            for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                value = loader.construct_document(each)
                if value is not None:
                    yield _as_json(Place(name, each.start_mark.line + 1), value)
    finally:
        loader.dispose()


def _as_json(place: Place, value: object) -> Loaded:
    try:
        return Loaded(place, json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        return Loaded(place, wrong=f"is not what JSON can hold: {error}")


class _Loader(yaml.SafeLoader):
    """YAML without dates, and with keys that are text and given once."""

    # typeshed leaves the resolvers of a loader untyped.
    yaml_implicit_resolvers: Any = {  # noqa: RUF012 - the library's own way of setting them
        first: [each for each in resolvers if each[0] != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the library's signature
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == _MERGE:
                continue
            if key.tag != _TEXT:
                raise _wrong(key, f"the key {key.value!r} is no text: write it in quotes")
            if key.value in seen:
                raise _wrong(key, f"the key {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _wrong(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
