"""The gate before the page, alone: names, origins, ways in, bodies."""

import asyncio
import json

import pytest

from bitlens.app.bodies import Body, BodyError
from bitlens.app.gate import Gate, Hosts
from bitlens.app.uploads import Uploads

OWN, ANOTHER = "/files/uploads/aa/own.png", "/files/uploads/bb/other.png"
HERE = "127.0.0.1:7860"
JOIN = "/gradio_api/queue/join"


class Page:
    """Stands for the page: tells what came through."""

    def __init__(self, answer=b"{}"):
        self.seen, self.answer = [], answer

    async def __call__(self, scope, receive, send):
        body = (await receive()).get("body", b"") if scope["type"] == "http" else b""
        self.seen.append((scope, body))
        headers = [(b"access-control-allow-credentials", b"true"), (b"access-control-allow-origin", b"http://x")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.answer})


def ask(
    page, method="GET", path="/", *, host=HERE, body=b"", query=b"", uploads=None, listening="127.0.0.1", **headers
):
    """The status, the headers and the body of an answer."""
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query, "client": ("127.0.0.1", 1),
        "headers": [*([(b"host", host.encode())] if host is not None else []), *given],
    }  # fmt: skip
    parts = [body[start : start + 100_000] for start in range(0, len(body), 100_000)] or [b""]
    messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    gate = Gate(page, Hosts(listening), uploads or Uploads(), "/files/uploads")
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860", "127.0.0.2", "LOCALHOST:1"]
)
def test_this_machine_s_own_names_are_answered(host):
    assert ask(Page(), host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        None,
        "[::1",
        "10.0.0.9:7860",
    ],
)
def test_other_names_are_not_answered(host):
    page = Page()
    assert ask(page, host=host)[0] == 421
    assert ask(page, "POST", JOIN, host=host, body=b"{}")[0] == 421
    assert not page.seen


def test_two_names_at_once_are_none():
    page = Page()
    assert ask(page, host=HERE, **{"Host": "evil.example"})[0] == 421
    assert not page.seen


def test_a_page_for_the_network_answers_numbers_and_its_own_name_and_no_other():
    assert ask(Page(), listening="0.0.0.0", host="192.168.1.4:7860")[0] == 200
    assert ask(Page(), listening="box.lan", host="box.lan:7860")[0] == 200
    assert ask(Page(), listening="0.0.0.0", host="evil.example")[0] == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", JOIN), ("POST", "/gradio_api/upload"), ("GET", "/config"), ("OPTIONS", JOIN)]
)
def test_other_pages_are_not_answered(origin, method, path):
    page = Page()
    assert ask(page, method, path, origin=origin, body=b"{}")[0] == 403
    assert not page.seen


def test_requests_that_a_browser_calls_foreign_are_refused_but_a_link_may_lead_here():
    page = Page()
    assert ask(page, "GET", "/config", sec_fetch_site="cross-site")[0] == 403
    assert ask(page, "POST", JOIN, sec_fetch_site="same-site", body=b"{}")[0] == 403
    assert not page.seen
    assert ask(page, "GET", "/", sec_fetch_site="cross-site")[0] == 200


def test_the_page_itself_is_answered_without_leave_for_others():
    page = Page()
    status, headers, _ = ask(page, "POST", JOIN, origin=f"http://{HERE}", body=b"{}")
    assert status == 200
    assert not [name for name in headers if name.startswith(b"access-control")]


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    page = Page()
    asyncio.run(Gate(page, Hosts("127.0.0.1"), Uploads(), "/files")({"type": "websocket"}, None, send))
    assert sent[0]["type"] == "websocket.close"
    assert not page.seen


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/run/explain"), ("POST", "/gradio_api/call/explain"), ("POST", "/gradio_api/api/explain"),
        ("POST", "/gradio_api/component_server"), ("POST", "/gradio_api/process_recording"), ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/proxy=http://evil.example"), ("GET", "/gradio_api/file=http://evil.example/x"),
        ("GET", "/gradio_api/file=/etc/passwd"), ("GET", "/gradio_api/file=/files/uploads/../secret"),
        ("GET", "/gradio_api/file/etc/passwd"), ("GET", "/gradio_api/runs"), ("GET", "/docs"), ("PUT", JOIN), ("DELETE", "/"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(method, path):
    page = Page()
    assert ask(page, method, path, body=b"{}")[0] == 404
    assert not page.seen


def owned():
    uploads = Uploads()
    uploads.add(OWN, "me")
    uploads.add(ANOTHER, "you")
    return uploads


FORGED = [
    {"path": "/etc/passwd"},
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"path": "/no/such/file"},
    {"path": "relative.png", "meta": {"_type": "gradio.FileData"}},
    {"path": "/files/uploads/../secret.png"},
    {"path": ANOTHER, "meta": {"_type": "gradio.FileData"}},
    {"path": OWN + "/../own.png"},
    {"url": "http://evil.example/x.png"},
    {"path": "http://evil.example/x.png"},
    {"path": "", "url": "data:image/png;base64,AAAA"},
    {"path": ["/etc/passwd"]},
    {"path": None, "url": "/etc/passwd"},
    {"is_stream": True, "path": "/etc/passwd"},
]


@pytest.mark.parametrize("forged", FORGED, ids=str)
@pytest.mark.parametrize(
    "wrap", [lambda f: f, lambda f: [f], lambda f: {"value": f}, lambda f: {"a": [{"b": f}]}], ids=range(4)
)
def test_files_that_the_visitor_did_not_upload_are_refused_wherever_they_stand(forged, wrap):
    page = Page()
    for question in ({"data": [wrap(forged)]}, {"data": [], "event_data": wrap(forged)}):
        answer = ask(
            page, "POST", JOIN, body=json.dumps(question).encode(), uploads=owned(), cookie="bitlens-visitor=me"
        )
        assert answer[0] == 403
        assert answer[2] == ask(page, "POST", JOIN, body=b'{"data": [{"path": "/none"}]}', uploads=owned())[2]
    assert not page.seen


def test_an_upload_of_one_s_own_passes_told_by_its_path_alone():
    page = Page()
    told = {"path": OWN, "url": "http://evil.example", "orig_name": "x", "size": 3}
    body = json.dumps({"data": [told, 3], "session_hash": "s"}).encode()
    assert ask(page, "POST", JOIN, body=body, uploads=owned(), cookie="bitlens-visitor=me")[0] == 200
    scope, passed = page.seen[0]
    assert json.loads(passed)["data"] == [{"path": OWN, "meta": {"_type": "gradio.FileData"}}, 3]
    assert dict(scope["headers"])[b"content-length"] == str(len(passed)).encode()


def test_each_of_several_files_is_looked_at_and_examples_are_everybody_s():
    uploads, example = owned(), "/files/examples/scene.png"
    uploads.share([example])

    def status(*files):
        body = json.dumps({"data": [[{"path": file} for file in files]]}).encode()
        return ask(Page(), "POST", JOIN, body=body, uploads=uploads, cookie="bitlens-visitor=me")[0]

    assert status(OWN, example) == status(example) == 200
    assert status(OWN, ANOTHER) == status(example, OWN, ANOTHER) == status(ANOTHER, OWN) == 403


BOUNDARY = "multipart/form-data; boundary=xyz"


def form(*files):
    parts = [b'--xyz\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n' + file for file in files]
    return b"\r\n".join([*parts, b"--xyz--\r\n"])


def upload(page, uploads=None, *files, **headers):
    given = {"cookie": "bitlens-visitor=me", "content_type": BOUNDARY, **headers}
    return ask(page, "POST", "/gradio_api/upload", body=form(*files or [b"photo"]), uploads=uploads, **given)


def test_what_is_uploaded_belongs_to_who_uploaded_it():
    uploads = Uploads()
    page = Page(json.dumps([OWN]).encode())
    assert upload(page, uploads)[0] == 200
    question = json.dumps({"data": [{"path": OWN}]}).encode()
    for visitor, status in (("me", 200), ("you", 403)):
        cookie = f"bitlens-visitor={visitor}"
        assert ask(Page(), "POST", JOIN, body=question, uploads=uploads, cookie=cookie)[0] == status
        fetched = ask(Page(), "GET", f"/gradio_api/file={OWN}", uploads=uploads, cookie=cookie)[0]
        assert fetched == (200 if status == 200 else 404)
    assert ask(Page(), "POST", JOIN, body=question, uploads=uploads)[0] == 403  # a program without a name


def test_a_session_belongs_to_the_first_who_names_it():
    uploads, body = Uploads(), b'{"data": [], "session_hash": "abc"}'
    assert ask(Page(), "POST", JOIN, body=body, uploads=uploads, cookie="bitlens-visitor=me")[0] == 200
    assert ask(Page(), "POST", JOIN, body=body, uploads=uploads, cookie="bitlens-visitor=you")[0] == 404
    data = ("GET", "/gradio_api/queue/data")
    assert ask(Page(), *data, query=b"session_hash=abc", uploads=uploads, cookie="bitlens-visitor=you")[0] == 404
    assert ask(Page(), *data, query=b"session_hash=abc", uploads=uploads, cookie="bitlens-visitor=me")[0] == 200


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[" * 100_000, b"\xff\xfe", b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_what_is_no_question_gets_a_sentence(body):
    page = Page()
    assert ask(page, "POST", JOIN, body=body)[0] in (200, 400)
    assert len(page.seen) <= 1


def test_a_question_that_is_too_long_is_not_read_to_its_end():
    page = Page()
    assert ask(page, "POST", JOIN, body=b" " * 3_000_000)[0] == 413
    assert not page.seen


def test_a_new_visitor_gets_a_name_that_no_script_can_read():
    _, headers, _ = ask(Page())
    assert b"HttpOnly" in headers[b"set-cookie"]
    assert b"SameSite=Strict" in headers[b"set-cookie"]
    _, again, _ = ask(Page(), cookie="bitlens-visitor=me")
    assert b"set-cookie" not in again


def test_an_upload_reaches_the_page_whole_or_not_at_all():
    page = Page(b"[]")
    assert upload(page, None, b"x" * 3_000_000)[0] == 200
    assert upload(page, None, *[b"x" * 100] * 4)[0] == 200
    assert len(page.seen) == 2
    for files in ([b"x" * 20_100_000], [b"x" * 7_000_000] * 3, [b"x"] * 5, [b"x"] * 2000):
        assert upload(page, None, *files)[0] == 413
    assert upload(page, content_length=str(10**12))[0] == 413
    assert upload(page, content_type="text/plain")[0] == 400
    assert len(page.seen) == 2


def test_a_field_that_is_no_file_is_bounded_too():
    page, body = Page(), b'--xyz\r\ncontent-disposition: form-data; name="a"\r\n\r\n' + b"x" * 21_000_000
    assert ask(page, "POST", "/gradio_api/upload", body=body, content_type=BOUNDARY)[0] == 413
    assert not page.seen


def test_bodies_that_stop_coming_are_given_up(monkeypatch):
    monkeypatch.setattr("bitlens.app.bodies._SILENCE", 0.05)

    async def silence():
        await asyncio.sleep(60)

    async def taken():
        with pytest.raises(BodyError) as refused:
            await Body().take(silence, 100, 60)
        return refused.value.status

    assert asyncio.run(taken()) == 408


def test_all_uploads_together_are_bounded_and_the_oldest_go_first(tmp_path):
    uploads = Uploads(most_bytes=1000, most_files=4)
    files = [tmp_path / str(number) / "photo.png" for number in range(6)]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b"x")
    uploads.share([str(files[0])])
    for number, size in enumerate([100, 100, 100, 100, 100, 900]):
        uploads.add(str(files[number]), "me", size)
    assert [file.exists() for file in files] == [True, False, False, False, True, True]  # an example stays
    assert [uploads.may_name(str(file), "me") for file in files] == [True, False, False, False, True, True]
    files[4].unlink()
    uploads.forget_missing()
    assert not uploads.may_name(str(files[4]), "me")
