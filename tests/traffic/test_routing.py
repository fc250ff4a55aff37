"""Where requests go, told by what they are."""

from __future__ import annotations

import pytest

from tests.traffic.bed import SUBSETS, Bed

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

BY_PATH = """
type: MeshHTTPRoute
name: by-path
spec:
  targetRef: {kind: Dataplane, labels: {service: web}}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - matches:
            - path: {type: PathPrefix, value: /new}
          default:
            backendRefs:
              - {kind: MeshService, name: spare}
"""


async def test_match_by_path(bed: Bed) -> None:
    await bed.apply(BY_PATH)
    assert (await bed.call("/new/thing")).instance == "spare-1"
    assert (await bed.call("/newer")).instance.startswith("api-")
    assert (await bed.call("/new/thing", caller="admin")).instance.startswith("api-")


async def test_the_resolver_of_consul_chooses_a_subset(bed: Bed) -> None:
    await bed.entry("service-resolver", "api", DefaultSubset="v2", Subsets=SUBSETS)
    assert set(await bed.tally(20)) == {"api-3"}
