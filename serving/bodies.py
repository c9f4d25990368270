"""Reading the body of a request: JSON by its own word, not too large, not too slow."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from serving import contracts
from serving.contracts import RequestError

#: How long a client may take to send its body.
BODY_TIMEOUT_S = 10.0

#: A body that is too large is read and thrown away up to here, so that its sender gets to read why it was refused.
DISCARDED_BYTES = 16 * contracts.MAX_BODY


async def json_body(request: Request) -> bytes:
    """The body, if it calls itself JSON and is not too large by its own word or in truth."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestError(415, "content-type", "must be application/json", content_type, "set the header")
    limit = f"must have at most {contracts.MAX_BODY} bytes"
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > contracts.MAX_BODY and "expect" in request.headers:
        raise RequestError(413, "body", limit, int(declared), "send fewer events at once")
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size <= contracts.MAX_BODY:
                    parts.append(part)
                elif size > DISCARDED_BYTES:
                    break
    except TimeoutError:
        raise RequestError(408, "body", f"must arrive within {BODY_TIMEOUT_S:g} s", mend="send it faster") from None
    if size > contracts.MAX_BODY:
        raise RequestError(413, "body", limit, size, "send fewer events at once")
    return b"".join(parts)


__all__ = ["json_body"]
