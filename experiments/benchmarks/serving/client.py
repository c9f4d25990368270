"""A shop's backend with many connections, in a process of its own: each asks again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from features.errors import StellarError


class AnswerError(StellarError):
    """The service did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is asked.

    Attributes:
        name: In the result.
        line: Method and path.
        bodies: JSON texts, asked in turn; empty ones where nothing is sent.
    """

    name: str
    line: str
    bodies: Sequence[str]

    def requests(self, host: str) -> list[bytes]:
        """As HTTP/1.1 on a connection that is kept."""
        head = f"{self.line} HTTP/1.1\r\nHost: {host}\r\n"
        texts = (body.encode() for body in self.bodies)
        return [
            f"{head}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
            for text in texts
        ]


@dataclass(frozen=True, slots=True)
class Lap:
    """One endpoint asked for a while.

    Attributes:
        latencies_s: Of each request, in no order.
        seconds: From the first question to the last answer.
        cpu_s: What the service's processes computed meanwhile.
    """

    name: str
    latencies_s: list[float]
    seconds: float
    cpu_s: float


def drive(
    url: str, endpoints: Sequence[Endpoint], rounds: int, requests: int, warm_up: int, connections: int, pid: int
) -> list[Lap]:
    """Ask every endpoint in turn, round after round, so that whatever else the machine does hits all alike.

    Args:
        url: Of the service.
        rounds: How often all are asked, each time beginning with another.
        requests: Of each endpoint per round.
        warm_up: Of each endpoint before, not measured.
        pid: The service's first process.

    Raises:
        AnswerError: Another status than 200, or an answer whose length is not told.
    """
    return asyncio.run(_driven(url, endpoints, rounds, (requests, warm_up), connections, pid))


async def _driven(
    url: str, endpoints: Sequence[Endpoint], rounds: int, many: tuple[int, int], connections: int, pid: int
) -> list[Lap]:
    requests, warm_up = many
    address = urlsplit(url)
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(connections)]
    texts = {each.name: each.requests(address.netloc) for each in endpoints}
    laps = []
    try:
        for each in endpoints:
            await _lap(each.name, texts[each.name], 0, warm_up, opened, pid)
        for number in range(rounds):
            first = number % len(endpoints)
            for each in (*endpoints[first:], *endpoints[:first]):
                begin = warm_up + number * requests
                laps.append(await _lap(each.name, texts[each.name], begin, requests, opened, pid))
    finally:
        for _, writer in opened:
            writer.close()
    return laps


async def _lap(
    name: str,
    texts: Sequence[bytes],
    begin: int,
    requests: int,
    connections: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    pid: int,
) -> Lap:
    waiting = iter(range(begin, begin + requests))
    latencies: list[float] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in waiting:
            asked = time.perf_counter()
            writer.write(texts[number % len(texts)])
            await _answer(reader, name)
            latencies.append(time.perf_counter() - asked)

    before, started = _cpu_s(pid), time.perf_counter()
    await asyncio.gather(*(ask(*connection) for connection in connections))
    seconds = time.perf_counter() - started
    return Lap(name, latencies, seconds, _cpu_s(pid) - before)


async def _answer(reader: asyncio.StreamReader, name: str) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
    if not lengths:
        raise AnswerError(name, "must tell the length of its answer", status)
    body = await reader.readexactly(int(lengths[0]))
    if status.split(" ")[1] != "200":
        raise AnswerError(name, "must answer 200", f"{status} {body[:200]!r}")
    return body


def _cpu_s(pid: int) -> float:
    """What a process and its children have computed so far."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


__all__ = ["AnswerError", "Endpoint", "Lap", "drive"]
