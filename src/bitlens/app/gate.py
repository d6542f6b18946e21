"""What stands before the page: who may ask, for what, and which files a visitor may name.

A browser runs pages of strangers. So a request must call this machine by its own name (a stranger's name that was made to
point here does not), come from this page alone, ask for something the page needs, and name only files that the same visitor
uploaded. Whatever else is asked for gets one sentence that does not tell whether such a file exists.
"""

import ipaddress
import json
import secrets
import socket
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from bitlens.app.bodies import Body, BodyError, boundary_of
from bitlens.app.uploads import Uploads

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = "bitlens-visitor"
_MOST_BYTES = 1_000_000  # of a question; photos are uploaded apart
_QUESTION_SECONDS, _UPLOAD_SECONDS = 30.0, 120.0
_FILES_AT_ONCE, _UPLOADS_AT_ONCE = 4, 8
_AROUND = 10_000  # bytes of a form that are no file
_API = "/gradio_api"
_READS = {
    "", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/pwa_icon",
    *(f"{_API}/{name}" for name in (
        "info", "app_id", "startup-events", "user", "login_check", "token", "theme.css", "queue/data", "upload_progress",
    )),
}  # fmt: skip
_READS_BELOW = ("/assets/", "/static/", "/svelte/", "/pwa_icon/", f"{_API}/heartbeat/")
_FILE = f"{_API}/file="
_UPLOAD, _ASKS = f"{_API}/upload", {f"{_API}/queue/join", f"{_API}/cancel", f"{_API}/reset"}

_NO_FILE = "this file was not uploaded by you: choose it again"
_NOT_HERE = "there is nothing here"


class Hosts:
    """The names under which the page may be called.

    A stranger can make a name of theirs point to any address, but not a number: numbers of the interfaces that are listened
    on are safe, and of names only those of this machine.

    Args:
        host: what the page listens on.
    """

    def __init__(self, host: str) -> None:
        address = _address(host)
        self._any_address = address is not None and address.is_unspecified
        self._names = {"localhost", host.lower()}
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def __contains__(self, value: str) -> bool:
        """Say whether a Host header names this machine; its port does not matter."""
        try:
            name = urlsplit(f"//{value}").hostname or ""
        except ValueError:
            return False
        address = _address(name)
        if address is not None:
            return address.is_loopback or self._any_address or name in self._names
        return name in self._names


class Gate:
    """Answers what may not pass, and hands everything else on.

    Args:
        app: the page.
        hosts: under which it may be called.
        uploads: who owns what.
        files: the folder that files may be fetched from.
        most_upload: bytes of one upload, all its files together.
    """

    def __init__(
        self, app: "ASGIApp", hosts: Hosts, uploads: Uploads, files: str, most_upload: int = 20_000_000
    ) -> None:
        self._app, self._hosts, self._uploads, self._files = app, hosts, uploads, files.rstrip("/") + "/"
        self._most_upload, self._uploading = most_upload, 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":  # the page needs no other connections
            await send({"type": "websocket.close", "code": 1008, "reason": _NOT_HERE})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await _refuse(send, 421, "this page is not served under that name: open it by the address that was printed")
            return
        path, method = scope["path"].rstrip("/"), scope["method"]
        if not _from_here(headers, hosts[0], path):
            await _refuse(send, 403, "this page answers only itself, not other pages")
            return
        known = _visitor_of(headers)
        visitor = known or f"address {(scope.get('client') or ('', 0))[0]}"
        if method in ("GET", "HEAD") and not self._may_read(path, scope, visitor):
            await _refuse(send, 404, _NOT_HERE)
            return
        send = _plain(send, None if known or method != "GET" or path else secrets.token_urlsafe(24))
        if method in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif method == "POST" and (path == _UPLOAD or path in _ASKS):
            body = Body()
            try:
                if path == _UPLOAD:
                    await self._upload(scope, receive, send, visitor, headers, body)
                else:
                    await self._ask(scope, receive, send, visitor, body)
            except BodyError as error:
                await _refuse(send, error.status, error.reason)
            finally:
                body.close()
        else:
            await _refuse(send, 404, _NOT_HERE)

    def _may_read(self, path: str, scope: "Scope", visitor: str) -> bool:
        if path.startswith(_FILE):
            file = path.removeprefix(_FILE)
            inside = file.startswith(self._files) and ".." not in file.split("/")
            return inside and not self._uploads.is_another_s(file, visitor)
        if path == f"{_API}/queue/data":
            asked = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])
            return all(self._uploads.asks_in(session, visitor) for session in asked)
        return path in _READS or path.startswith(_READS_BELOW)

    async def _upload(
        self, scope: "Scope", receive: "Receive", send: "Send", visitor: str, headers: dict[str, str], body: Body
    ) -> None:
        """Let an upload pass if it is small, and few go on at once; the page sees none of what is too large."""
        boundary, most = boundary_of(headers.get("content-type", "")), self._most_upload + _AROUND
        if headers.get("content-length", "0").isdecimal() and int(headers.get("content-length", "0")[:20]) > most:
            raise BodyError(413, f"at most {self._most_upload:,} bytes are taken at once")
        if self._uploading >= _UPLOADS_AT_ONCE:
            raise BodyError(503, "too many photos are being uploaded: try again in a moment")
        self._uploading += 1
        try:
            await body.take(receive, most, _UPLOAD_SECONDS, boundary=boundary, parts=_FILES_AT_ONCE)
            await self._app(scope, body.receive, self._noting(send, visitor, body.size))
        finally:
            self._uploading -= 1

    def _noting(self, send: "Send", visitor: str, size: int) -> "Send":
        """Remember whose the files are that an upload is answered with, before the answer leaves."""
        held: list[Message] = []

        async def noting(message: "Message") -> None:
            held.append(message)
            if message["type"] != "http.response.body" or message.get("more_body"):
                return
            content = b"".join(part.get("body", b"") for part in held)
            if held[0].get("status") == 200:
                for path in json.loads(content):
                    self._uploads.add(str(path), visitor, size)
            for part in held:
                await send(part)

        return noting

    async def _ask(self, scope: "Scope", receive: "Receive", send: "Send", visitor: str, body: Body) -> None:
        """Let a question pass if it is small, and names nothing but the visitor's own files."""
        await body.take(receive, _MOST_BYTES, _QUESTION_SECONDS)
        try:
            question = json.loads(body.whole())
            cleaned = _cleaned(question)
            named = list(_files_in(cleaned))
        except (ValueError, RecursionError):
            await _refuse(send, 400, "this is no question of the page")
            return
        if not all(self._uploads.may_name(path, visitor) for path in named):
            await _refuse(send, 403, _NO_FILE)
            return
        session = question.get("session_hash") if isinstance(question, dict) else None
        if isinstance(session, str) and not self._uploads.asks_in(session, visitor):
            await _refuse(send, 404, _NOT_HERE)
            return
        content = json.dumps(cleaned).encode()
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in _FRAMING]
        headers = [*kept, (b"content-length", str(len(content)).encode()), (b"content-type", b"application/json")]

        async def given() -> "Message":
            nonlocal content
            if content:
                message = {"type": "http.request", "body": content, "more_body": False}
                content = b""
                return message
            return await receive()

        await self._app({**scope, "headers": headers}, given, send)


_FRAMING = (b"content-length", b"content-type", b"transfer-encoding", b"content-encoding")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


def _from_here(headers: dict[str, str], host: str, path: str) -> bool:
    """Say whether the page itself or who opens it asks; programs that are no browsers do not say where they come from."""
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    return path == "" or headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _visitor_of(headers: dict[str, str]) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def _cleaned(value: Any) -> Any:
    """Return the same, every file told by its path alone: what else a question says of a file is not believed."""
    if isinstance(value, dict):
        if _is_file(value):
            return {"path": value.get("path"), "meta": {"_type": "gradio.FileData"}}
        return {name: _cleaned(part) for name, part in value.items()}
    return [_cleaned(part) for part in value] if isinstance(value, list) else value


def _is_file(value: dict[str, Any]) -> bool:
    return bool({"path", "url", "is_stream"} & value.keys())


def _files_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if _is_file(value):
            yield value["path"] if isinstance(value["path"], str) else ""
        else:
            for part in value.values():
                yield from _files_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _files_in(part)


def _plain(send: "Send", visitor: str | None) -> "Send":
    """Answer without leave for other pages; a new visitor is given a name that no other page and no script can read."""
    cookie = f"{_COOKIE}={visitor}; Path=/; HttpOnly; SameSite=Strict".encode() if visitor is not None else None

    async def sent(message: "Message") -> None:
        if message["type"] == "http.response.start":
            own = [
                (name, value) for name, value in message["headers"] if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": own + ([(b"set-cookie", cookie)] if cookie is not None else [])}
        await send(message)

    return sent


async def _refuse(send: "Send", status: int, reason: str) -> None:
    content = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": content})
