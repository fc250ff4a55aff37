"""The mesh's one client of Consul.

Its calls come in groups, each in a module of its own; this class puts them on one transport
and adds what takes more than one call to learn: which dialect the servers speak, and whether a
call that no intention matches is allowed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mesh.clients.consul.address import ConsulAddress
from mesh.clients.consul.configentries import ConfigEntries
from mesh.clients.consul.errors import Refused
from mesh.clients.consul.health import Health
from mesh.clients.consul.intentions import Dialect, Intentions
from mesh.clients.consul.registration import Registration
from mesh.clients.consul.storage import Storage
from mesh.clients.consul.transport import MARGIN, MAX_CONNECTIONS, Transport

_UNKNOWN_KIND = "invalid config entry kind"
_NOBODY = "mesh-probe-of-the-default-policy"


class ConsulClient(Storage, Registration, Health, ConfigEntries):
    """Consul's HTTP API at one address.  Open until :meth:`close`, or as a context manager.

    ``intentions`` lists and changes intentions in whichever dialect the servers speak.
    """

    def __init__(
        self,
        address: ConsulAddress,
        *,
        max_connections: int = MAX_CONNECTIONS,
        margin: float = MARGIN,
    ) -> None:
        """Dial nothing yet.

        ``max_connections`` stays below the agent's ``http_max_conns_per_client``; ``margin`` is
        how long an answer may take beyond the wait asked for.
        """
        super().__init__(Transport(address, max_connections=max_connections, margin=margin))
        self.address = address
        self._dialect: Dialect | None = None
        self.intentions = Intentions(self.transport, self.dialect)

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self.transport.close()

    async def dialect(self, *, refresh: bool = False, token: str = "") -> Dialect:
        """Learn how the servers keep intentions; remembered once learned."""
        if self._dialect is None or refresh:
            try:
                await self.config_list("service-intentions", token=token)
            except Refused as error:
                if _UNKNOWN_KIND not in error.words:
                    raise
                self._dialect = Dialect.LEGACY
            else:
                self._dialect = Dialect.CONFIG_ENTRIES
        return self._dialect

    async def default_allow(self, *, token: str = "") -> bool | None:
        """Learn what happens to a call that no intention matches.

        Consul decides a call between services that cannot exist, so only an intention from
        anybody to anybody (``* → *``) can stand in the way of the default: then it is None.
        """
        allowed = await self.intentions.check(_NOBODY, _NOBODY, token=token)
        # Looked for afterwards: what decided the call above is still there to be seen.
        return None if await self.intentions.has_catch_all(token=token) else allowed
