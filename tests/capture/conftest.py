"""A host to capture connections of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture.host import Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host and its peer, for a module; what is loaded there is the test's."""
    with Host(700) as made:
        yield made
