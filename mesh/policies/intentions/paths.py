"""The path that a rule sees: normalised as Envoy's HTTP connection manager does it.

Rules are matched against a path without query and fragment, after dot segments are removed
(RFC 3986, 5.2.4), needless percent-encoding is undone (RFC 3986, 6.2.2.2), characters that no
URI may have are encoded, and repeated slashes are merged.  ``%2F`` stays as it is: an encoded
slash is data.  Envoy's own ways, each measured: a backslash is a slash, and ``..;x`` is a dot
segment.
"""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(r"[?#]")
_ENCODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
_FORBIDDEN: Final = re.compile(r'["<>^`{|}]')
_DOTS: Final = frozenset({".", ".."})
_SLASHES: Final = re.compile(r"/{2,}")


def normalise(target: str) -> str:
    """Return the path that a rule sees of the request target ``target``."""
    path = _END.split(target, maxsplit=1)[0]
    if not path.startswith("/"):
        return path
    segments = [_segment(raw) for raw in path.replace("\\", "/").split("/")[1:]]
    return _SLASHES.sub("/", "/" + "/".join(_without_dots(segments)))


def _segment(raw: str) -> str:
    dots = raw.partition(";")[0]
    decoded = dots if dots in _DOTS else _ENCODED.sub(_decode, raw)
    return _FORBIDDEN.sub(lambda found: f"%{ord(found.group()):02X}", decoded)


def _decode(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if _UNRESERVED.fullmatch(char) else found.group()


def _without_dots(segments: list[str]) -> list[str]:
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return [*kept, ""] if segments[-1] in _DOTS else kept
