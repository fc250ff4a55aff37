"""What a reader finds wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh.model.violations import InvalidInputError


def paths(parse: Callable[[dict[str, Any]], object], raw: dict[str, Any]) -> list[str]:
    """Return where ``parse`` finds ``raw`` wrong."""
    with pytest.raises(InvalidInputError) as caught:
        parse(raw)
    return [violation.path for violation in caught.value.violations]
