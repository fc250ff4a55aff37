"""Applications behind one Envoy, some of them with TLS of their own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tests.envoy.place import App


@dataclass
class Estate:
    """What runs beside Envoy."""

    apps: dict[str, App] = field(default_factory=dict)
    server_names: list[str] = field(default_factory=list)
    """The SNI of each handshake."""

    def forget(self) -> None:
        """Be as if nobody had asked yet."""
        self.server_names.clear()
        for app in self.apps.values():
            app.forget()

    def hear(self, context: ssl.SSLContext) -> None:
        """Let handshakes with ``context`` be recorded."""

        def named(_socket: object, name: str | None, _context: object) -> None:
            self.server_names.append(name or "")

        context.sni_callback = named


@asynccontextmanager
async def running(
    plain: Sequence[str], secure: Mapping[str, ssl.SSLContext]
) -> AsyncIterator[Estate]:
    """Run applications of these names."""
    found = Estate()
    async with AsyncExitStack() as stack:
        for name in (*plain, *secure):
            context = secure.get(name)
            if context is not None:
                found.hear(context)
            app = found.apps[name] = await App(name).start(context)
            stack.push_async_callback(app.close)
        yield found
