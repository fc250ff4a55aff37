"""The local agent's registrations, and the catalog's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from mesh.clients.consul.answers import AgentService, Answer, CatalogNode, TokenInfo
from mesh.clients.consul.calls import Calls, anything, read

_SERVICES = msgspec.json.Decoder(dict[str, AgentService])
_NAMES = msgspec.json.Decoder(dict[str, tuple[str, ...] | None])
_NODE = msgspec.json.Decoder(CatalogNode | None)
_DATACENTERS = msgspec.json.Decoder(tuple[str, ...])
_TOKEN = msgspec.json.Decoder(TokenInfo)


class Registration(Calls):
    """``/v1/agent``, ``/v1/catalog`` and who the token is."""

    async def agent_self(self, *, token: str = "") -> Mapping[str, Any]:
        """Return the agent's configuration and membership, as Consul words them."""
        found: Mapping[str, Any] = read(await self.library.agent.self(token or None), anything)
        return found

    async def agent_services(self, *, token: str = "") -> Mapping[str, AgentService]:
        """Return what is registered with this agent, by registration id."""
        return read(await self.library.agent.services(token or None), _SERVICES.decode)

    async def agent_register(self, definition: Mapping[str, Any], *, token: str = "") -> None:
        """Register a service; ``definition`` is Consul's, ``Proxy`` and ``Checks`` included.

        Checks of an earlier registration that it does not name are removed.
        """
        # The library knows no connect-proxy fields.
        await self._write(
            "PUT",
            "/v1/agent/service/register",
            definition,
            token=token,
            params=(("replace-existing-checks", "true"),),
        )

    async def agent_deregister(self, service_id: str, *, token: str = "") -> None:
        """Remove a registration and its checks; one that is gone already is no error."""
        # Encoded here, for an id may have any character.
        await self._write(
            "PUT", f"/v1/agent/service/deregister/{quote(service_id, safe='')}", token=token
        )

    async def agent_check_update(
        self, check_id: str, status: str, output: str = "", *, token: str = ""
    ) -> None:
        """Report on a TTL check: ``passing``, ``warning`` or ``critical``, with a word on why."""
        # The library would put the output into the URL, where it may not fit.
        await self._write(
            "PUT",
            f"/v1/agent/check/update/{quote(check_id, safe='')}",
            {"Status": status, "Output": output},
            token=token,
        )

    async def datacenters(self) -> tuple[str, ...]:
        """Return every known datacenter, the nearest first; a dead one is still listed."""
        # The library sends no token along, which a registry may want.
        return (await self._read("/v1/catalog/datacenters", _DATACENTERS.decode)).value

    async def catalog_register(self, entry: Mapping[str, Any], *, token: str = "") -> None:
        """Register with the catalog itself; ``entry`` is Consul's.

        Without ``SkipNodeUpdate`` an entry that names no ``NodeMeta`` wipes the node's.
        """
        # The library knows only some of the fields.
        await self._write("PUT", "/v1/catalog/register", entry, token=token)

    async def catalog_deregister(
        self, node: str, *, service_id: str = "", check_id: str = "", token: str = ""
    ) -> None:
        """Remove a service, a check or, with neither given, the node."""
        await self.library.catalog.deregister(
            node, service_id or None, check_id or None, token=token or None
        )

    async def catalog_services(
        self, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[Mapping[str, tuple[str, ...] | None]]:
        """Return the names of all registered services, each with its tags."""
        return await self._read(
            "/v1/catalog/services", _NAMES.decode, index=index, wait=wait, token=token
        )

    async def catalog_node(
        self, node: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[CatalogNode | None]:
        """Return a node and what is registered on it; None if there is no such node."""
        return await self._read(
            f"/v1/catalog/node/{quote(node, safe='')}",
            _NODE.decode,
            index=index,
            wait=wait,
            token=token,
        )

    async def acl_token_self(self, *, token: str = "") -> TokenInfo:
        """Return what is known of the token in use.

        Raises:
            Forbidden: Consul does not know the token.
            Refused: with 401, when its ACLs are off.

        """
        return read(await self.library.acl_tokens.self(token or None), _TOKEN.decode)
