"""HTTP/2 settings at a fraction of the memory.

h2 keeps a deque per setting for values that are not acknowledged yet, thirteen of them per
connection: 10 KB where thousands of proxies connect.  All proxies settle on the same few values,
so here the settled ones are one mapping shared by everybody, and only what is under way is the
connection's own.  Nothing but h2's public interface is used: its properties ask the mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from h2.settings import ChangedSetting, SettingCodes, Settings

Code = SettingCodes | int

_SHARED: Final[dict[tuple[tuple[Code, int], ...], Mapping[Code, int]]] = {}
_MOST_SHARED: Final = 1_000
"""Different settled sets that are shared; a peer that invents more gets its own."""


_CLIENT: Final = Settings(client=True)
_SERVER: Final = Settings(client=False)
"""Never changed; they check values on behalf of all."""


class CompactSettings(Settings):
    """One side's settings (RFC 9113, section 6.5)."""

    def __init__(
        self,
        client: bool = True,  # noqa: FBT001, FBT002 - h2's own signature
        initial_values: dict[SettingCodes, int] | None = None,
    ) -> None:
        """Begin with h2's defaults and ``initial_values``, which are in force at once."""
        self._stock = _CLIENT if client else _SERVER
        self._settled = _shared(dict(Settings(client, initial_values)))
        self._coming: dict[Code, list[int]] = {}

    def validate_received_setting(self, setting: Code, value: int) -> None:
        """Check what the peer sends of its own settings.

        Raises:
            ProtocolError: it may not.

        """
        self._stock.validate_received_setting(setting, value)

    def acknowledge(self) -> dict[Code, ChangedSetting]:
        """Put the oldest value under way of each setting in force; return what changed."""
        changed: dict[Code, ChangedSetting] = {}
        settled = dict(self._settled)
        for code, values in list(self._coming.items()):
            value = values.pop(0)
            changed[code] = ChangedSetting(code, settled.get(code), value)
            settled[code] = value
            if not values:
                del self._coming[code]
        if changed:
            self._settled = _shared(settled)
        return changed

    def __getitem__(self, key: Code) -> int:
        """Return the value in force."""
        return self._settled[key]

    def __setitem__(self, key: Code, value: int) -> None:
        """Propose a value; h2 decides whether it may be.

        Raises:
            InvalidSettingsValueError: it may not.

        """
        Settings(client=True)[key] = value
        self._coming.setdefault(key, []).append(value)

    def __delitem__(self, key: Code) -> None:
        """Forget a setting."""
        self._settled = _shared(
            {code: value for code, value in self._settled.items() if code != key}
        )
        self._coming.pop(key, None)

    def __iter__(self) -> Iterator[Code]:
        """Iterate over the settings in force."""
        return iter(self._settled)

    def __len__(self) -> int:
        """Count the settings in force."""
        return len(self._settled)

    def __eq__(self, other: object) -> bool:
        """Compare what is in force and what is under way."""
        if isinstance(other, CompactSettings):
            return self._settled == other._settled and self._coming == other._coming
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as h2's own


def _shared(settled: dict[Code, int]) -> Mapping[Code, int]:
    key = tuple(sorted(settled.items()))
    found = _SHARED.get(key)
    if found is None:
        found = MappingProxyType(settled)
        if len(_SHARED) < _MOST_SHARED:
            _SHARED[key] = found
    return found
