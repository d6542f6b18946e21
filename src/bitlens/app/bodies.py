"""What a visitor sends, taken whole before the page sees any of it: so many bytes, so many files, so many seconds."""

import asyncio
import re
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive

_SPOOLED = 1 << 20  # bytes in memory; the rest waits in a file without a name
_PIECE = 1 << 16
_SILENCE = 20.0  # seconds until a visitor who sends nothing is let go


class BodyError(Exception):
    """A body that is not taken.

    Args:
        status: of the answer.
        reason: a sentence for the visitor.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Body:
    """The whole body of a request.

    Attributes:
        size: in bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._file = SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115  (closed by `close`)
        self._sent = False
        self._receive: Receive

    async def take(
        self, receive: "Receive", most: int, seconds: float, *, boundary: bytes = b"", parts: int = 0
    ) -> None:
        """Read it to its end.

        Args:
            receive: gives it piece by piece.
            most: bytes.
            seconds: that it may take.
            boundary: what stands between its parts; empty for a body of one part.
            parts: how many it may have.

        Raises:
            BodyError: if it is too long, too slow, has too many parts, or ends too early.
        """
        found, tail, more, self._receive = 0, b"", True, receive
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while more:
            try:
                message = await asyncio.wait_for(receive(), max(0.0, min(_SILENCE, end - loop.time())))
            except asyncio.TimeoutError:
                raise BodyError(408, "nothing came for too long: send it again") from None
            if message["type"] == "http.disconnect":
                raise BodyError(400, "it ended too early")
            content, more = message.get("body", b""), message.get("more_body", False)
            self.size += len(content)
            if self.size > most:
                raise BodyError(413, f"at most {most:,} bytes are taken at once")
            if boundary:
                found += (tail + content).count(boundary)
                tail = (tail + content)[-(len(boundary) - 1) :] if len(boundary) > 1 else b""
                if found > parts + 1:  # one stands behind the last part
                    raise BodyError(413, f"at most {parts} files are taken at once")
            self._file.write(content)
        self._file.seek(0)

    def whole(self) -> bytes:
        """Return all of it."""
        return self._file.read()

    async def receive(self) -> "Message":
        """Give it to the page, piece by piece; then what the visitor does next."""
        if self._sent:
            return await self._receive()
        content = self._file.read(_PIECE)
        self._sent = self._file.tell() >= self.size
        return {"type": "http.request", "body": content, "more_body": not self._sent}

    def close(self) -> None:
        """Forget it."""
        self._file.close()


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts of a form.

    Raises:
        BodyError: if it is no form.
    """
    found = re.match(r'multipart/form-data\s*;.*?boundary="?([^";,]{1,70})"?', content_type, re.IGNORECASE)
    if found is None:
        raise BodyError(400, "this is no upload of the page")
    return b"--" + found[1].encode("latin-1")
