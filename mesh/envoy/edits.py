"""Header edits, in the four lists that Envoy keeps them in at every level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.core.v3 import base_pb2

from mesh.model.requests import HeaderEdits


def request_edits(place: Any, edits: HeaderEdits) -> None:
    """Change request headers as ``edits`` say, at ``place``: a route, or a weighted cluster."""
    place.request_headers_to_add.extend(options(edits))
    place.request_headers_to_remove.extend(edits.remove)


def response_edits(place: Any, edits: HeaderEdits) -> None:
    """Change response headers as ``edits`` say, at ``place``: a route, or a weighted cluster."""
    place.response_headers_to_add.extend(options(edits))
    place.response_headers_to_remove.extend(edits.remove)


def followed(first: HeaderEdits, then: HeaderEdits) -> HeaderEdits:
    """Return ``first`` and after it ``then``, which has the last word."""
    settled = {name.lower() for name in (*then.remove, *(name for name, _ in then.set))}

    def standing(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in pairs if pair[0].lower() not in settled)

    return HeaderEdits(
        add=(*standing(first.add), *then.add),
        set=(*standing(first.set), *then.set),
        remove=(*first.remove, *then.remove),
    )


def options(edits: HeaderEdits) -> Iterator[Any]:
    """Yield what ``edits`` set and add, as HeaderValueOptions; values are Envoy's formats."""
    for name, value in edits.set:
        yield _option(name, value, base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    for name, value in edits.add:
        yield _option(name, value, base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD)


def _option(name: str, value: str, action: Any) -> Any:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=action,
        # Envoy would leave a header without a value out.
        keep_empty_value=not value,
    )
