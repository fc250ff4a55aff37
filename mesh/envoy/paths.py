"""New paths for old: how a rewrite is told to Envoy, in a forward as in a redirect.

Envoy replaces the matched prefix letter by letter.  That is what a prefix match means, but with
segments ``/a`` → ``/`` would make ``//b`` of ``/a/b``, and ``/`` → ``/a`` would make ``/ab`` of
``/b``.  Slashes at the seam are therefore settled here, or left to an expression where no fixed
text does.  The query is never touched.
"""

from __future__ import annotations

from typing import Any, Final

from mesh.envoy.matching import segments
from mesh.envoy.rbac import quoted
from mesh.model.requests import PathKind, PathMatch
from mesh.model.traffic import PathRewrite, RewriteKind

_WHOLE_PATH: Final = "^.*$"
_ROOT: Final = PathMatch(PathKind.SEGMENTS, "/")


def rewrite(action: Any, match: PathMatch | None, path: PathRewrite) -> None:
    """Let ``action`` (a RouteAction) send what ``match`` matched to ``path``."""
    if path.kind is RewriteKind.FULL:
        _replace(action, _WHOLE_PATH, path.value)
    else:
        _prefix(action, match or _ROOT, path.value)


def redirect(action: Any, match: PathMatch | None, path: PathRewrite) -> None:
    """Let ``action`` (a RedirectAction) point what ``match`` matched at ``path``."""
    if path.kind is RewriteKind.FULL:
        action.path_redirect = path.value
    else:
        _prefix(action, match or _ROOT, path.value)


def _prefix(action: Any, match: PathMatch, value: str) -> None:
    matched = match.value
    if match.kind is PathKind.SEGMENTS:
        matched, value = segments(match.value), segments(value)
        if not matched:
            value += "/"
    if value:
        action.prefix_rewrite = value
    else:
        # Nothing takes the prefix's place; what is left begins with one slash.
        start = quoted(matched)
        _replace(action, f"^(?i:{start})/*" if match.ignore_case else f"^{start}/*", "/")


def _replace(action: Any, regex: str, value: str) -> None:
    action.regex_rewrite.pattern.regex = regex
    # A backslash begins a reference to a group.
    action.regex_rewrite.substitution = value.replace("\\", "\\\\")
