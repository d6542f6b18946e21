"""Attacks on the real page, from a program and from a browser that a stranger's page runs in; all on this machine."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from bitlens.data.datasets import open_dataset

pytest.importorskip("gradio", reason="the extra app is not installed")
httpx = pytest.importorskip("httpx", reason="it comes with the extra app")
pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
META = {"_type": "gradio.FileData"}
_SESSIONS = count()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    from bitlens.app import Offers, serve

    patch = pytest.MonkeyPatch()
    patch.setenv("BITLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
    page, address = serve(
        Offers.bundled(),
        "cpu",
        host="127.0.0.1",
        port=None,
        max_upload="200kb",
        open_browser=False,
        wait=False,
    )
    yield address.rstrip("/")
    page.close()
    patch.undo()


@pytest.fixture
def visitor(address):
    with httpx.Client(base_url=address, timeout=120) as client:
        client.get("/")
        yield client


@pytest.fixture
def secret(tmp_path):
    """A picture of this machine that nobody uploaded."""
    file = tmp_path / "private.png"
    open_dataset("builtin:scenes")[3].image.save(file)
    return file


def events(client):
    """The page's events that run code, each with the values that its inputs have at first."""
    config = client.get("/config").json()
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    kinds = {part["id"]: part["type"] for part in config["components"]}
    for event in config["dependencies"]:
        if event["backend_fn"]:
            yield event["id"], [values[i] for i in event["inputs"]], [kinds[i] for i in event["inputs"]]


def ask(client, event, data, **more):
    body = {"data": data, "fn_index": event, "session_hash": f"session{next(_SESSIONS)}", **more}
    return client.post("/gradio_api/queue/join", json=body), body["session_hash"]


def finished(client, session):
    """The last message of an event."""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("it never ended")


def explains(client):
    """The first event that takes a photo, and its values."""
    return next((event, values, kinds.index("image")) for event, values, kinds in events(client) if "image" in kinds)


def upload(client, file):
    (path,) = client.post("/gradio_api/upload", files={"files": (file.name, file.read_bytes(), "image/png")}).json()
    return path


def test_a_visitor_s_own_photo_is_explained(visitor, secret):
    event, values, place = explains(visitor)
    values[place] = {"path": upload(visitor, secret), "meta": META}
    answer, session = ask(visitor, event, values)
    assert answer.status_code == 200
    assert finished(visitor, session)["success"]


def test_an_example_is_everybody_s(visitor):
    event = next(event for event, _, kinds in events(visitor) if not kinds)
    answer, session = ask(visitor, event, [], event_data={"number": 0})
    assert answer.status_code == 200
    photo = finished(visitor, session)["output"]["data"][0]
    event, values, place = explains(visitor)
    values[place] = photo
    answer, session = ask(visitor, event, values)
    assert answer.status_code == 200
    assert finished(visitor, session)["success"]


@pytest.mark.parametrize("number", [-1, 8, 1e9, True, None, "0", "../../etc/passwd", {"path": "/etc/passwd"}])
def test_an_example_that_there_is_not_is_none(visitor, number):
    event = next(event for event, _, kinds in events(visitor) if not kinds)
    answer, session = ask(visitor, event, [], event_data={"number": number})
    assert answer.status_code == 403 or not finished(visitor, session)["success"]


def test_no_input_of_any_event_reads_a_file_that_was_not_uploaded(visitor, address, secret, tmp_path):
    with httpx.Client(base_url=address) as other:
        other.get("/")
        foreign = upload(other, secret)
    link = Path(foreign).parent / "link.png"
    link.symlink_to(secret)
    paths = [str(secret), str(tmp_path / "missing.png"), foreign, str(link), "pyproject.toml", f"{foreign}/../../x"]
    said = set()
    for event, values, _ in events(visitor):
        for place in range(len(values)):
            for path in paths:
                for forged in ({"path": path}, {"path": path, "meta": META}, [{"path": path, "url": path}]):
                    answer, _ = ask(visitor, event, [*values[:place], forged, *values[place + 1 :]])
                    assert answer.status_code == 403
                    said.add(answer.text)
    assert said == {'{"detail": "this file was not uploaded by you: choose it again"}'}


def test_another_s_upload_and_answer_are_not_handed_out(visitor, address, secret):
    path = upload(visitor, secret)
    with httpx.Client(base_url=address) as other:
        other.get("/")
        assert other.get(f"/gradio_api/file={path}").status_code == 404
        assert visitor.get(f"/gradio_api/file={path}").status_code == 200
    assert visitor.get(f"/gradio_api/file={secret}").status_code == 404


def test_more_than_the_page_takes_is_refused(visitor, secret):
    for files in ([("files", ("a.png", b"x" * 300_000))], [("files", ("a.png", b"x" * 100))] * 9):
        assert visitor.post("/gradio_api/upload", files=files).status_code == 413
    field = {"data": {"field": "x" * 1_000_000}, "files": {"files": ("a.png", b"x")}}
    assert visitor.post("/gradio_api/upload", **field).status_code == 413
    assert upload(visitor, secret)


def test_the_number_of_methods_is_bounded_on_the_server(visitor, secret):
    event, values, place = explains(visitor)
    values[place] = {"path": upload(visitor, secret), "meta": META}
    where = next(i for i, value in enumerate(values) if value == ["iba"])
    values[where] = ["iba", "saliency", "grad-cam", "rise", "lime", "kernel-shap", "occlusion-14"]
    _, session = ask(visitor, event, values)
    assert "at most 6" in json.dumps(finished(visitor, session))


def test_a_long_question_shows_its_place_to_the_next_and_holds_up_no_other_network(visitor, address, secret):
    event, values, place = explains(visitor)
    where = next(i for i, value in enumerate(values) if value == ["iba"])
    values[place] = {"path": upload(visitor, secret), "meta": META}
    order, seen = [], []

    def wait(client, session, name):
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                seen.append((name, line))
                if "process_completed" in line:
                    order.append(name)
                    return

    with httpx.Client(base_url=address, timeout=120) as other:
        other.get("/")
        values[where] = ["rise", "lime", "kernel-shap", "extremal-perturbation"]
        _, long = ask(visitor, event, values)
        waiting = [threading.Thread(target=wait, args=(visitor, long, "long"))]
        waiting[0].start()
        time.sleep(0.5)
        mine = [*values]
        mine[place], mine[where] = {"path": upload(other, secret), "meta": META}, ["saliency"]
        _, short = ask(other, event, mine)
        text, words = next((e, v) for e, v, kinds in events(other) if kinds[:1] == ["textbox"])
        _, elsewhere = ask(other, text, ["A wonderful film.", *words[1:]])
        waiting += [
            threading.Thread(target=wait, args=(other, s, n)) for s, n in ((short, "short"), (elsewhere, "text"))
        ]
        for one in waiting[1:]:
            one.start()
        for one in waiting:
            one.join(100)
    assert len(order) == 3
    assert order[0] == "text"
    assert [line for name, line in seen if name == "short" and "before yours" in line]
    assert not [line for name, line in seen if name == "text" and "before yours" in line]


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_no_file_outlives_the_page(ending, tmp_path, secret):
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "BITLENS_CACHE": str(tmp_path / "cache")}
    (tmp_path / "tmp").mkdir()
    port = free_port()
    command = [sys.executable, "-m", "bitlens", "app", "--port", str(port), "--device", "cpu"]
    page = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert "bitlens is at" in page.stdout.readline()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            client.get("/")
            path = upload(client, secret)
            assert Path(path).is_relative_to(tmp_path)
        page.send_signal(getattr(signal, ending))
        page.wait(60)
    finally:
        page.kill()
        page.wait()
    assert not list((tmp_path / "tmp").glob("bitlens-app-*"))


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_half_a_request_is_given_up():
    from bitlens.app.connections import close_idle

    gr = pytest.importorskip("gradio")
    with gr.Blocks() as page:
        gr.HTML("x")
    began = []

    @asynccontextmanager
    async def chores(_):
        began.append(asyncio.create_task(close_idle(page, 1.2)))
        yield

    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"lifespan": chores})
    try:
        port = int(address.rstrip("/").rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as silent,
            socket.create_connection(("127.0.0.1", port)) as half,
        ):
            half.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            for one in (silent, half):
                one.settimeout(20)
                with suppress(ConnectionResetError):
                    assert one.recv(10) == b""
        with httpx.Client(base_url=address) as client:
            for _ in range(4):
                assert client.get("/config").status_code == 200
                time.sleep(0.5)
    finally:
        page.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as started:
        rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        yield opened
        opened.close()


def test_a_foreign_name_that_leads_here_shows_nothing(browser, address):
    page = browser.new_page()
    port = address.rpartition(":")[2]
    assert page.goto(f"http://rebound.example:{port}/").status == 421
    answers = page.evaluate(
        """async () => Promise.all([
            fetch('/config').then(r => r.status),
            fetch('/gradio_api/queue/join', {method: 'POST', body: '{}'}).then(r => r.status),
            fetch('/gradio_api/upload', {method: 'POST', body: new FormData()}).then(r => r.status)])"""
    )
    assert answers == [421, 421, 421]
    page.close()


def test_a_page_of_another_origin_can_ask_nothing(browser, address):
    page = browser.new_page()
    page.route(
        "http://stranger.example/", lambda route: route.fulfill(body="<p>stranger</p>", content_type="text/html")
    )
    page.goto("http://stranger.example/")
    answers = page.evaluate(
        """async address => Promise.all(['/config', '/gradio_api/queue/join', '/gradio_api/upload'].map(
            path => fetch(address + path, {method: path == '/config' ? 'GET' : 'POST', credentials: 'include'})
                .then(r => r.status, () => 'refused')))""",
        address,
    )
    assert answers == ["refused"] * 3
    page.close()
