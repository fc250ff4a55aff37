"""Who counts what happens on the streams."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Hears of everything that is worth a figure (the metrics)."""

    def on_push(self, type_url: str, size: int) -> None:
        """A response of ``size`` bytes was queued."""

    def on_ack(self, type_url: str, seconds: float) -> None:
        """A response was acknowledged ``seconds`` after it was queued."""

    def on_nack(self, type_url: str, names: tuple[str, ...]) -> None:
        """A response with the resources ``names`` was refused by a proxy."""

    def on_refused(self, status: str) -> None:
        """A stream was refused with a gRPC status."""


class Silent:
    """An observer that counts nothing."""

    def on_push(self, type_url: str, size: int) -> None:
        """Ignore."""

    def on_ack(self, type_url: str, seconds: float) -> None:
        """Ignore."""

    def on_nack(self, type_url: str, names: tuple[str, ...]) -> None:
        """Ignore."""

    def on_refused(self, status: str) -> None:
        """Ignore."""
