"""Connections on which nothing is asked are closed: a server has only so many."""

import asyncio
import time
from typing import Any


async def close_idle(page: Any, seconds: float = 30.0) -> None:
    """Close, for as long as the page runs, whatever stays open without a question: half a request, or none.

    Connections that wait for the next question end by themselves much sooner, by the server's own time limit.

    Args:
        page: being served.
        seconds: how long a connection may stay without a question.
    """
    waiting: dict[Any, tuple[Any, float]] = {}
    while True:
        await asyncio.sleep(seconds / 6)
        server = getattr(page, "server", None)
        known, now, waiting = waiting, time.monotonic(), {}
        for connection in tuple(server.server_state.connections) if server is not None else ():
            cycle = connection.cycle
            if cycle is not None and not cycle.response_complete:
                continue
            before, since = known.get(connection, (cycle, now))
            since = since if before is cycle else now
            if now - since >= seconds:
                connection.transport.abort()
            else:
                waiting[connection] = (cycle, since)
