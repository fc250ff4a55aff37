"""Envoy's REST form of SDS, on a Unix socket in the state directory: one question, one answer.

Envoy asks every few seconds whether what it has is still the newest, and is told so in a line.
Nobody else can ask: the directory is its owner's only.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rest-json-polling
"""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Final

from mesh.agent.certificates.copies import resource
from mesh.agent.certificates.keeper import MOST, Certificates
from mesh.agent.identity import SECRET_TYPE
from mesh.agent.state import StateDir
from mesh.envoy.files import CERTIFICATES_SOCKET
from mesh.model.certificates import InvalidSourceError

logger = logging.getLogger(__name__)

_PATH: Final = "/v3/discovery:secrets"
_MOST_HEAD: Final = 16 * 1024
_MOST: Final = 1024 * 1024
"""Bytes of a question: Envoy's node, with all its extensions, is some 80 kB."""
_PATIENCE: Final = 5.0

Answer = tuple[HTTPStatus, bytes]


async def serve(certificates: Certificates, state: StateDir) -> None:
    """Answer what Envoy asks, and keep ``certificates``; runs forever."""
    told: dict[str, str] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                writer.write(_encoded(*await _answer(reader, certificates, told)))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("envoy was not answered", extra={"reason": str(error)})
        finally:
            writer.close()

    # What an agent that was killed left behind.
    state.remove(CERTIFICATES_SOCKET)
    path = state.socket(CERTIFICATES_SOCKET)
    server = await asyncio.start_unix_server(connected, path, limit=_MOST_HEAD)
    async with server:
        await certificates.run()


async def _answer(
    reader: asyncio.StreamReader, certificates: Certificates, told: dict[str, str]
) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, _, rest = head.partition(" ")
    if method != "POST" or rest.partition(" ")[0] != _PATH:
        return HTTPStatus.NOT_FOUND, b""
    length = _length(head)
    if not 0 <= length <= _MOST:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b""
    name = ""
    try:
        question = json.loads(await reader.readexactly(length))
        (name,) = map(str, question["resource_names"])
        known = str(question.get("version_info", ""))
        held = await certificates.wanted(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = "" if isinstance(error, InvalidSourceError) else "not a question for one secret: "
        _tell(told, name, f"{reason}{error}")
        return HTTPStatus.BAD_REQUEST, b""
    told.pop(name, None)
    if held is None:
        return HTTPStatus.NOT_FOUND, b""
    if held.version == known:
        return HTTPStatus.NOT_MODIFIED, b""
    answer = {
        "version_info": held.version,
        "type_url": SECRET_TYPE,
        "resources": [resource(name, held.chain, held.key)],
    }
    return HTTPStatus.OK, json.dumps(answer).encode()


def _tell(told: dict[str, str], name: str, reason: str) -> None:
    """Say why ``name`` is refused, but not each time that Envoy asks: it asks every few seconds."""
    if told.get(name) == reason:
        return
    if len(told) >= MOST:
        told.clear()
    told[name] = reason
    logger.warning("envoy asks for no certificate", extra={"reason": reason})


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdigit():
            return int(value)
    return -1


def _encoded(status: HTTPStatus, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
    if status is not HTTPStatus.NOT_MODIFIED:
        head += f"Content-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
