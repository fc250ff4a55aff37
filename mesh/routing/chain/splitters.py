"""Splitters, flattened: what share of the calls to a service ends at which target.

A split that names another service without a subset passes through that one's splitter; the
shares multiply, and header edits of the outer and the inner split come together.  The flattened
shares are rounded to hundredths of a percent so that they still add up to the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.model.destinations import Target
from mesh.model.entries import Split
from mesh.model.requests import NO_EDITS, HeaderEdits
from mesh.model.traffic import WHOLE, Share
from mesh.routing.chain.places import Blame, label
from mesh.routing.chain.resolvers import Walk

_PERCENT = 100.0
_PRECISION = 0.01
"""How far from 100 the weights of a splitter may add up, as in Consul."""
_DEEPEST = 50
"""How many splitters may lie within one another."""
_MOST = 1000
"""Into how many ways one splitter may divide: they multiply with each that lies within."""


class Branch(NamedTuple):
    """A target and the part of the calls, at most 1, that ends there."""

    target: Target
    part: float = 1.0
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


@dataclass(slots=True)
class Splitting:
    """Follows the splitters of one chain, each of them once."""

    walk: Walk
    used: dict[str, tuple[Branch, ...]] = field(default_factory=dict)
    """What each splitter that was met comes to, by its service."""
    _open: list[str] = field(default_factory=list)

    def spread(self, service: str, blame: Blame) -> tuple[Branch, ...]:
        """Return where calls to ``service`` end: by its splitter, else by its resolver."""
        splitter = self.walk.entries.splitters.get(service)
        if splitter is None:
            return self._single(service, "", blame)
        if service in self._open:
            self._blame_loop(service)
            return ()
        if service not in self.used:
            self.walk.reads.add(service)
            self._check_sum(service, splitter.splits)
            if len(self._open) == _DEEPEST:
                self._blame_size(service, f"lies within {_DEEPEST} other splitters")
                return ()
            self._open.append(service)
            found = tuple(itertools.islice(self._branches(service, splitter.splits), _MOST + 1))
            self._open.pop()
            if len(found) > _MOST:
                self._blame_size(service, f"divides the calls into more than {_MOST} ways")
                found = ()
            self.used[service] = found
        return self.used[service]

    def _branches(self, service: str, splits: tuple[Split, ...]) -> Iterator[Branch]:
        entry = label("splitter", service)
        for index, split in enumerate(splits):
            blame = Blame(entry, f"Splits[{index}]")
            named = split.service or service
            # A splitter that names its own service means the instances, not itself again.
            if split.subset or named == service:
                inner = self._single(named, split.subset, blame)
            else:
                inner = self.spread(named, blame)
            for branch in inner:
                yield Branch(
                    branch.target,
                    branch.part * split.weight / _PERCENT,
                    _overlaid(split.request_headers, branch.request_headers),
                    _overlaid(branch.response_headers, split.response_headers),
                )

    def _single(self, service: str, subset: str, blame: Blame) -> tuple[Branch, ...]:
        target = self.walk.resolve(service, subset, blame)
        return () if target is None else (Branch(target),)

    def _check_sum(self, service: str, splits: tuple[Split, ...]) -> None:
        total = sum(split.weight for split in splits)
        if abs(total - _PERCENT) >= _PRECISION:
            self.walk.blame(
                Blame(label("splitter", service), "Splits"),
                f"the weights add up to {total:g} instead of 100",
            )

    def _blame_size(self, service: str, message: str) -> None:
        self.walk.blame(Blame(label("splitter", service), "Splits"), message)

    def _blame_loop(self, service: str) -> None:
        # One loop is told in the same words wherever it is entered, so that it is told once.
        loop = self._open[self._open.index(service) :]
        first = loop.index(min(loop))
        ring = [*loop[first:], *loop[: first + 1]]
        self.walk.blame(
            Blame(label("splitter", ring[0]), "Splits"), f"a loop of splitters: {' → '.join(ring)}"
        )


def shares(branches: tuple[Branch, ...]) -> tuple[Share, ...]:
    """Return ``branches`` as shares that sum to ``WHOLE``, each within one of its exact weight.

    Branches that differ in their part only become one share.  A part of 0 stays 0.
    """
    if len(branches) == 1:
        only = branches[0]
        return (Share(only.target, WHOLE, only.request_headers, only.response_headers),)
    if len({branch.target for branch in branches}) < len(branches):
        branches = _merged(branches)
    weights = _whole([branch.part for branch in branches])
    return tuple(
        Share(branch.target, weight, branch.request_headers, branch.response_headers)
        for branch, weight in zip(branches, weights, strict=True)
    )


def _merged(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    merged: dict[Branch, float] = {}
    for branch in branches:
        alike = branch._replace(part=0.0)
        merged[alike] = merged.get(alike, 0.0) + branch.part
    return tuple(alike._replace(part=part) for alike, part in merged.items())


def _whole(parts: list[float]) -> list[int]:
    """Round to integers that sum to ``WHOLE``, by the largest remainder."""
    total = sum(parts)
    if not total:
        return [0 for _ in parts]
    exact = [part / total * WHOLE for part in parts]
    weights = [int(each) for each in exact]
    by_remainder = sorted(range(len(parts)), key=lambda each: weights[each] - exact[each])
    for each in by_remainder[: WHOLE - sum(weights)]:
        weights[each] += 1
    return weights


def _overlaid(below: HeaderEdits, above: HeaderEdits) -> HeaderEdits:
    """Return both edits as one; what ``above`` says of a header stands."""
    if below is NO_EDITS or above is NO_EDITS:
        return below if above is NO_EDITS else above
    return HeaderEdits(
        add=_by_name(below.add, above.add),
        set=_by_name(below.set, above.set),
        remove=tuple({name.lower(): name for name in (*below.remove, *above.remove)}.values()),
    )


def _by_name(
    below: tuple[tuple[str, str], ...], above: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    return tuple({name.lower(): (name, value) for name, value in (*below, *above)}.values())
