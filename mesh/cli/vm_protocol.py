"""What a service speaks, written to Consul where nobody has said it yet."""

from __future__ import annotations

import asyncio
from typing import Final

from mesh.cli.arguments import refused
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model import services
from mesh.vm.errors import VmError

KIND: Final = "service-defaults"
PROTOCOLS: Final = tuple(str(each) for each in services.Protocol)


class Protocol:
    """The ``service-defaults`` of one service, if it has to be written."""

    def __init__(self, consul: ConsulAddress, service: str, protocol: str) -> None:
        """Look whether it has to; with an empty ``protocol``, nobody asked.

        Raises:
            InvalidInputError: there is no such protocol.
            VmError: Consul says another.
            ConsulError: Consul cannot be asked.

        """
        self._consul = consul
        self._service = service
        self._protocol = protocol
        self._missing = False
        if not protocol:
            return
        if protocol not in PROTOCOLS:
            raise refused(
                "the option --protocol", f"{protocol!r} is none of {', '.join(PROTOCOLS)}"
            )
        said = asyncio.run(self._read())
        if said is not None and said != protocol:
            raise VmError(
                f"the {KIND} of {service} in Consul say {said or 'tcp'}, not {protocol}",
                f"Change them with `consul config write`, or join with --protocol {said or 'tcp'}.",
            )
        self._missing = said is None

    def steps(self) -> tuple[str, ...]:
        """Return what is to be done, for people."""
        entry = f"{KIND} {self._service} (Protocol {self._protocol})"
        return (f"consul   write {entry}",) if self._missing else ()

    def write(self) -> None:
        """Write it, unless somebody did meanwhile."""
        if self._missing:
            self._missing = asyncio.run(self._write())

    def take_back(self) -> None:
        """Remove what was written."""
        if self._missing:
            asyncio.run(self._delete())

    async def _read(self) -> str | None:
        async with ConsulClient(self._consul) as client:
            found = (await client.config_get(KIND, self._service)).value
        return None if found is None else str(found.get("Protocol") or "")

    async def _write(self) -> bool:
        entry = {"Kind": KIND, "Name": self._service, "Protocol": self._protocol}
        async with ConsulClient(self._consul) as client:
            return await client.config_put(entry, cas=0)

    async def _delete(self) -> None:
        async with ConsulClient(self._consul) as client:
            await client.config_delete(KIND, self._service)
