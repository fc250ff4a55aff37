"""What one stream holds of one resource type, and what it is still owed.

A :class:`Subscription` compares two tuples of shared resources: ``have``, what the client was
last sent, and what the snapshot shows it now.  It keeps no copy: in the steady state ``have``
*is* the snapshot's own tuple, so a session costs the size of its subscribed names.

The order in which types take their turn, and when removals may go, is the session's business
(:mod:`mesh.xds.session`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from mesh.envoy.resource import CLUSTER, EXTENSION, LISTENER, Resource
from mesh.xds.responses import Batch, Outstanding
from mesh.xds.status import Nack, TypeStatus

WILDCARD: Final = "*"
MAX_NAMES: Final = 50_000
"""Names that one stream may subscribe to for one type."""
MAX_BODY: Final = 1 << 20
"""A response is cut after this many bytes; the rest follows its acknowledgement."""

_WILDCARD_TYPES: Final = frozenset({CLUSTER, LISTENER})
_RELEASED: Final = frozenset({EXTENSION})
"""Never taken away but given up: Envoy answers 500 where a draining chain has lost a filter."""
_NONE: Final[frozenset[str]] = frozenset()


class ProtocolViolationError(ValueError):
    """A client asked for something that the protocol or a limit forbids."""


class Subscription:
    """One type on one stream."""

    __slots__ = (
        "_alone",
        "_due",
        "_greet",
        "_have",
        "_names",
        "_rejected",
        "_settled",
        "_wildcard",
        "acked",
        "nacks",
        "outstanding",
        "sent",
        "type_url",
    )

    def __init__(self, type_url: str) -> None:
        """Start with nothing subscribed."""
        self.type_url = type_url
        self.outstanding: Outstanding | None = None
        self.sent = 0
        self.acked = 0
        self.nacks = 0
        self._wildcard = False
        # A tuple, because a set of twenty names takes ten times its room.
        self._names: tuple[str, ...] = ()
        self._have: tuple[Resource, ...] = ()
        # Names to be answered whatever the client has: it asked for them (again).
        self._due = _NONE
        # A wildcard's first answer is sent even if empty: the client waits for it.
        self._greet = False
        # Resources of a refused response of several, to be tried one by one.
        self._alone: tuple[Resource, ...] = ()
        self._rejected: dict[str, Nack] | None = None
        # The snapshot's tuple for which nothing is left to do: the fast path of a sweep.
        self._settled: tuple[Resource, ...] | None = None

    # What the client says

    def begin(
        self, names: Iterable[str], versions: Mapping[str, str], resources: tuple[Resource, ...]
    ) -> None:
        """Take the stream's first request for this type.

        ``versions`` is what the client holds from an earlier stream.
        """
        wanted = {sys.intern(name) for name in names}
        self._wildcard = WILDCARD in wanted or (not wanted and self.type_url in _WILDCARD_TYPES)
        wanted.discard(WILDCARD)
        self._check(len(wanted))
        self._names = tuple(sorted(wanted))
        self._due = frozenset(wanted - versions.keys())
        self._greet = self._wildcard and not versions
        if versions:
            current = {resource.name: resource for resource in resources}
            self._have = tuple(
                self._held(name, version, current.get(name))
                for name, version in sorted(versions.items())
                if self._wildcard or name in wanted
            )

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Take a later change of interest."""
        added = {sys.intern(name) for name in subscribe}
        dropped = set(unsubscribe) - added
        if not added and not dropped:
            return
        self._settled = None
        if WILDCARD in added:
            added.discard(WILDCARD)
            self._wildcard = self._greet = True
        if WILDCARD in dropped:
            dropped.discard(WILDCARD)
            self._wildcard = False
        names = {*self._names, *added} - dropped
        self._check(len(names))
        self._names = tuple(sorted(names))
        self._due |= added
        if self._wildcard:
            # The client cannot know whether the wildcard still gives it the name: tell it.
            self._due |= dropped
            return
        self._due &= names
        self._have = tuple(held for held in self._have if held.name in names)
        self._accept(set(self._rejected or ()) - names)

    def acknowledge(self) -> None:
        """The outstanding response was taken."""
        if self.outstanding is None:
            return
        self.acked += 1
        self._accept(resource.name for resource in self.outstanding.upserts)
        self.outstanding = None

    def reject(self, reason: str, at: float) -> Nack:
        """The outstanding response was refused; the client keeps its last good version.

        A client may refuse a whole response for one resource, so the resources of a larger
        one are each sent once more alone: the innocent arrive, the guilty stays refused until
        its content changes.
        """
        if self.outstanding is None:
            return Nack((), reason, at)
        upserts = self.outstanding.upserts
        self.outstanding = None
        self.nacks += 1
        nack = Nack(tuple(resource.name for resource in upserts), reason, at)
        wanted = [one for one in upserts if self._wildcard or one.name in self._names]
        refused = {one.name: Nack((one.name,), reason, at) for one in wanted}
        if refused:
            self._rejected = {**(self._rejected or {}), **refused}
        if len(upserts) > 1:
            self._alone += upserts
            self._settled = None
        return nack

    def warm(self, clusters: Iterable[str]) -> None:
        """Owe the endpoints of ``clusters`` again, where they are subscribed.

        A changed cluster warms up anew and waits for its endpoints, which bear its name, but
        Envoy, subscribed to the name already, does not ask for them again.
        """
        due = frozenset(self._names).intersection(clusters)
        if due:
            self._due |= due
            self._settled = None

    # What the client is owed

    def upserts(self, resources: tuple[Resource, ...]) -> Batch | None:
        """Return the next response that takes nothing away, or None."""
        if self._settled is resources or self.outstanding is not None:
            return None
        visible = self._visible(resources)
        have = {held.name: held.version for held in self._have}
        due = self._due
        changed = [
            resource
            for resource in visible
            if have.get(resource.name) != resource.version or resource.name in due
        ]
        missing = tuple(sorted(due.difference(resource.name for resource in visible)))
        if changed or missing or self._greet:
            batch = self._take(visible, changed, missing, have)
            if self._have is visible and not (self._due or self._alone):
                self._settled = resources
            return batch
        if self._alone:
            return self._retry(visible)
        names = {resource.name for resource in visible}
        if have.keys() == names:
            self._have = visible
            self._settled = resources
        elif self.type_url in _RELEASED and have.keys() > names:
            self._accept(have.keys() - names)
            self._settled = resources
        return None

    def removals(self, resources: tuple[Resource, ...]) -> Batch | None:
        """Return the response that takes away what the snapshot no longer has, or None."""
        if self._settled is resources or self.outstanding or self.type_url in _RELEASED:
            return None
        names = {resource.name for resource in self._visible(resources)}
        gone = tuple(held.name for held in self._have if held.name not in names)
        if not gone:
            return None
        self._have = tuple(held for held in self._have if held.name in names)
        self._accept(gone)
        return Batch(removed=gone)

    def owes(self, resources: tuple[Resource, ...]) -> bool:
        """Whether anything is unsent, unanswered or refused."""
        if self.outstanding is not None or self._rejected:
            return True
        if self._settled is resources:
            return False
        have = {(held.name, held.version) for held in self._have}
        shown = {(one.name, one.version) for one in self._visible(resources)}
        apart = shown - have if self.type_url in _RELEASED else shown ^ have
        return bool(self._due or self._alone or self._greet or apart)

    def status(self) -> TypeStatus:
        """Describe this type for an operator."""
        nack = None
        if self._rejected:
            latest = max(self._rejected.values(), key=lambda nack: nack.at)
            nack = Nack(tuple(sorted(self._rejected)), latest.reason, latest.at)
        return TypeStatus(
            type_url=self.type_url,
            wildcard=self._wildcard,
            subscribed=len(self._have) if self._wildcard else len(self._names),
            sent=self.sent,
            acked=self.acked,
            waiting=self.outstanding is not None,
            nacks=self.nacks,
            nack=nack,
        )

    # How it is worked out

    def _check(self, names: int) -> None:
        if names > MAX_NAMES:
            raise ProtocolViolationError(
                f"{names} names subscribed for {self.type_url}: at most {MAX_NAMES} are allowed"
            )

    def _held(self, name: str, version: str, current: Resource | None) -> Resource:
        if current is not None and current.version == version:
            return current
        return Resource(self.type_url, name, version, b"")

    def _visible(self, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
        if self._wildcard:
            return resources
        names = frozenset(self._names)
        found = tuple(resource for resource in resources if resource.name in names)
        return resources if len(found) == len(resources) else found

    def _take(
        self,
        visible: tuple[Resource, ...],
        changed: list[Resource],
        missing: tuple[str, ...],
        have: Mapping[str, str],
    ) -> Batch:
        size = 0
        whole = True
        for count, resource in enumerate(changed):
            size += len(resource.wire)
            if count and size > MAX_BODY:
                del changed[count:]
                whole = False
                break
        upserts = tuple(changed)
        self._due = self._due.difference(missing, (one.name for one in upserts)) or _NONE
        self._greet = False
        adds = any(one.name not in have for one in upserts)
        self._accept(missing)
        if whole and not missing and have.keys() <= {one.name for one in visible}:
            self._have = visible
        else:
            merged = {held.name: held for held in self._have if held.name not in missing}
            merged.update((one.name, one) for one in upserts)
            self._have = tuple(merged[name] for name in sorted(merged))
        return Batch(upserts, missing, adds)

    def _retry(self, visible: tuple[Resource, ...]) -> Batch | None:
        now = {resource.name: resource for resource in visible}
        while self._alone:
            suspect, *rest = self._alone
            self._alone = tuple(rest)
            current = now.get(suspect.name)
            if current is not None and current.version == suspect.version:
                return Batch((current,))
        return None

    def _accept(self, names: Iterable[str]) -> None:
        rejected = self._rejected or {}
        for name in names if rejected else ():
            rejected.pop(name, None)
        self._rejected = rejected or None
