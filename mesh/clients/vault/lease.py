"""When a token must be renewed, and when only a new login helps.  Pure: no clock, no requests.

A token is renewed at half of its life.  Vault lets renewals run into the token's maximum life:
the renewed life then gets shorter and shorter.  Once a renewal grants less than half of what the
login granted, the maximum is near, and a new login is due while the old token still works.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

_SHORTEST: Final = timedelta(seconds=1)


class Step(enum.Enum):
    """What keeps a token alive."""

    RENEW = "renew"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class TokenLease:
    """A token and how long it lives.  ``life`` is None for one that never ends (a root token)."""

    token: str = field(repr=False)
    renewable: bool
    life: timedelta | None
    first_life: timedelta | None
    since: datetime

    @classmethod
    def granted(cls, token: str, *, seconds: int, renewable: bool, now: datetime) -> TokenLease:
        """Read what a login answered; zero seconds mean that the token never ends."""
        life = timedelta(seconds=seconds) if seconds > 0 else None
        return cls(token, renewable, life, life, now)

    def renewed(self, *, seconds: int, renewable: bool, now: datetime) -> TokenLease:
        """Return the lease after a renewal."""
        return replace(self, life=timedelta(seconds=seconds), renewable=renewable, since=now)

    @property
    def next_step(self) -> Step | None:
        """What is due at half life; None if the token never ends."""
        if self.life is None or self.first_life is None:
            return None
        near_maximum = self.life < self.first_life / 2
        return Step.RENEW if self.renewable and not near_maximum else Step.LOGIN

    def wait(self, now: datetime) -> timedelta:
        """How long until :attr:`next_step` is due."""
        if self.life is None:
            return timedelta.max
        return max(self.since + self.life / 2 - now, _SHORTEST)

    def due(self, now: datetime) -> bool:
        """Tell whether :attr:`next_step` is due."""
        return self.life is not None and now >= self.since + self.life / 2
