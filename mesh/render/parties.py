"""The proxies that take part in a call, from what is known of them.

A proxy that is connected says all about itself; of the others their registrations tell, which
carry the labels of the proxy in the meta of the instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mesh.model.names import SIDECAR_SUFFIX
from mesh.model.proxies import ProxyNeed
from mesh.policies.selection import Selection, Selector
from mesh.world.snapshot import World

Connected = Mapping[str, Sequence[ProxyNeed]]
"""By service, the proxies that are known otherwise than by their registrations."""

_TOLD_BY_CERTIFICATE: Final = frozenset({"service", "zone"})


class UnknownProxyError(ValueError):
    """There is no proxy of that id; the message names those that there are."""


def registered(world: World, service: str) -> tuple[ProxyNeed, ...]:
    """Return the proxies of ``service`` as their registrations tell of them."""
    return tuple(
        ProxyNeed(
            service,
            world.zone,
            None,
            id=instance.id.removesuffix(SIDECAR_SUFFIX),
            labels=tuple(
                sorted(
                    (key, value)
                    for key, value in instance.meta.items()
                    if key not in _TOLD_BY_CERTIFICATE
                )
            ),
        )
        for instance in world.instances.get(service, ())
    )


def caller(
    world: World, service: str, name: str, connected: Connected
) -> tuple[ProxyNeed, tuple[str, ...]]:
    """Return the proxy ``name`` of ``service``, the first by id if no name is given.

    Beside it come the ids of the others that other policies concern, or that stand elsewhere:
    their calls may travel otherwise.  A service without any proxy has one that nothing is known
    of.

    Raises:
        UnknownProxyError: there is no proxy of that name.

    """
    found = sorted(connected.get(service, ()) or registered(world, service), key=lambda one: one.id)
    if name:
        named = next((one for one in found if one.id == name), None)
        if named is None:
            known = ", ".join(one.id for one in found) or "none"
            raise UnknownProxyError(f"{service} has no proxy {name!r}; those known are: {known}")
        return named, ()
    if not found:
        return ProxyNeed(service, world.zone, None), ()
    chosen, *rest = found
    selector = Selector(world.policies)

    def circumstances(one: ProxyNeed) -> tuple[Selection, str]:
        return selector.select(one.id, one.all_labels), one.locality

    alike = circumstances(chosen)
    return chosen, tuple(one.id for one in rest if circumstances(one) != alike)
