"""Three sources of metrics as one page: Envoy's, the application's, the agent's own.

Prometheus' text format wants all samples of a name together, under one ``TYPE``.  The sources are
therefore cut into families, and a family whose name an earlier source has is left out, and counted:
two programs that use one name mean two things.  Pure text work.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SAMPLE: Final = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]*\{.*\}[ \t]*|[ \t]+)"
    r"[-+]?(?:[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[iI]nf(?:inity)?|[nN]a[nN])"
    r"(?:[ \t]+-?[0-9]+)?$"
)
_COMMENT: Final = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?$")
_PARTS: Final = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


@dataclass(slots=True)
class Family:
    """All the lines of one metric."""

    name: str
    kind: str = "untyped"
    lines: list[str] = field(default_factory=list)

    def owns(self, sample: str) -> bool:
        """Whether a sample of this name belongs here."""
        if sample == self.name:
            return True
        rest = sample.removeprefix(self.name)
        return rest != sample and rest in _PARTS.get(self.kind, ())

    def add(self, line: str, comment: re.Match[str] | None) -> None:
        """Append a line; a second ``HELP`` or ``TYPE`` is dropped, as the format allows one."""
        if comment is not None:
            word, _, rest = comment.groups()
            if any(known.startswith(f"# {word} ") for known in self.lines):
                return
            if word == "TYPE":
                self.kind = (rest or "untyped").strip()
        self.lines.append(line)

    def samples(self) -> frozenset[str]:
        """Return every name that its samples may have."""
        return frozenset({self.name, *(self.name + part for part in _PARTS.get(self.kind, ()))})


def families(text: str) -> Iterator[Family]:
    """Cut a page into its families; lines that are neither comment nor sample are left out."""
    current = Family("")
    for line in map(str.strip, text.split("\n")):
        comment, sample = _COMMENT.match(line), _SAMPLE.match(line)
        if comment is not None:
            name, belongs = comment[2], current.name == comment[2]
        elif sample is not None:
            name, belongs = sample[1], current.owns(sample[1])
        else:
            continue
        if not belongs:
            if current.lines:
                yield current
            current = Family(name)
        current.add(line, comment)
    if current.lines:
        yield current


def merge(pages: Iterable[str]) -> tuple[str, int]:
    """Return one page of all families, and how many were left out; earlier pages win."""
    taken: dict[str, int] = {}
    merged: dict[str, Family] = {}
    left_out: set[tuple[int, str]] = set()
    for source, page in enumerate(pages):
        for family in families(page):
            if any(taken.get(name, source) != source for name in family.samples()):
                left_out.add((source, family.name))
                continue
            taken.update(dict.fromkeys(family.samples(), source))
            known = merged.get(family.name)
            if known is None:
                merged[family.name] = family
            else:  # the source itself had scattered it
                known.lines += [line for line in family.lines if not line.startswith("#")]
    text = "".join(f"{line}\n" for family in merged.values() for line in family.lines)
    return text, len(left_out)


def gauges(values: Mapping[str, tuple[str, str, float]]) -> str:
    """Write families of one unlabelled sample: name to (kind, help, value)."""
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value:.15g}\n"
        for name, (kind, text, value) in values.items()
    )
