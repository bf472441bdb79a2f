# SPDX-License-Identifier: Apache-2.0
"""What the server answers, to what is right and to what is not, over real sockets."""

import asyncio
import contextlib
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common.people
from common.skeleton import COCO
from tools.page import app, connections, security
from tools.page.app import Limits
from tools.page.test import load
from tools.page.test.fake import (
    DIES,
    ENDLESS,
    FAILS,
    OFFSETS,
    SLOW,
    animated_gif,
    huge_png,
    picture,
    png,
)
from tools.page.test.serving import Client, serving

import cv2
import numpy as np
import pytest

PNG, QUEUE = png(), 4
SCHEMA = json.loads((Path(common.people.__file__).parents[1] / "docs/people.schema.json").read_text())


@pytest.fixture(scope="module")
def client():
    with serving(queue=QUEUE, limits=Limits(body_s=2)) as opened:
        yield opened


def keypoints(person: dict) -> np.ndarray:
    return np.array([person["keypoints"][name] for name in COCO.keypoints])


def test_the_page_and_its_headers(client: Client) -> None:
    page = client.ask("/")
    assert page.status == 200 and b"<title>Pose zoo</title>" in page.body
    for path in ("/", "/static/page.js", "/api/state", "/api/nothing"):
        headers = client.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"] and "*" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and "set-cookie" not in headers


def test_the_page_names_no_other_host() -> None:
    for file in app.STATIC.iterdir():
        assert not re.sub(r"http://www\.w3\.org/2000/svg", "", file.read_text()).count("://"), file.name


def test_people_are_those_of_the_schema(client: Client) -> None:
    answer = client.ask("/api/people", png([(100, 60), (220, 100)]), models="0,1", name="../a/b.png").json
    lines = [one["line"] for one in answer["answers"]]
    assert all(set(line) == set(SCHEMA["required"]) and line["source"] == "b.png" for line in lines)
    np.testing.assert_allclose(keypoints(lines[0]["people"][0])[:, :2], OFFSETS + (100, 60), atol=0.5)
    assert len(lines[0]["people"]) == 2 and lines[1]["people"][0]["lambda"] == 1
    assert all(set(one["seconds"]) == {"preprocessing", "network", "decoding"} for one in answer["answers"])


def test_boxes_choose_the_person(client: Client) -> None:
    two = png([(100, 60), (220, 100)])
    huge = f"[[{'9' * 400}, 1, 2, 3]]"
    assert client.ask("/api/people", two, models="1", boxes=huge).status == 400
    (answer,) = client.ask("/api/people", two, models="1", boxes="[[180, 60, 100, 170]]").json["answers"]
    assert keypoints(answer["line"]["people"][0])[0, 0] == pytest.approx(230, abs=0.5)  # and lambda 1


def test_all_steps_of_lambda_at_once(client: Client) -> None:
    answer = client.ask("/api/sweep", PNG, model="1").json
    found = np.array(answer["keypoints"])
    assert answer["lambdas"] == pytest.approx(np.linspace(0, 1, 11)) and found.shape == (1, 11, COCO.num_points, 3)
    np.testing.assert_allclose(found[0, :, 0, 0], 100 + np.linspace(0, 10, 11), atol=0.5)
    assert answer["merged"][0]["lambda"] == 1
    assert client.ask("/api/sweep", PNG, model="0").status == 422


@pytest.mark.parametrize("kind", ["heatmaps", "pafs"])
def test_maps_lie_on_the_image(client: Client, kind: str) -> None:
    answer = client.ask("/api/overlay", PNG, model="0", kind=kind, channel="2")
    image = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert answer.headers["content-type"] == "image/png" and image.shape == (240, 320, 4)
    assert image[60, 100, 3] > 200 and (kind == "pafs" or image[200, 300, 3] == 0)
    assert client.ask("/api/overlay", PNG, model="0", kind=kind, channel="99").status == 422


def test_ids_stay_with_people_of_a_camera(client: Client) -> None:
    def ids(place: int, session: str) -> dict:
        image = cv2.imencode(".jpg", picture([(80 + place, 60), (220, 80)]))[1].tobytes()
        line = client.ask("/api/camera", image, model="0", session=session, time=place / 10).json["line"]
        return {person["box"][0] < 160: person["id"] for person in line["people"]}

    assert len({tuple(sorted(ids(place, "a").items())) for place in range(0, 30, 6)}) == 1


BAD = {
    "text": (b"hello, I am a text named .jpg", 415, "not an image"),
    "nothing": (b"", 415, "not an image"),
    "animated GIF": (animated_gif(), 415, "GIF may move"),
    "cut": (cv2.imencode(".jpg", picture())[1].tobytes()[:-100], 415, "cut short"),
    "100 megapixels": (huge_png(), 413, "50 million pixels"),
    "PNG without an image": (PNG[:60], 415, "damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images_get_a_sentence(client: Client, kind: str) -> None:
    body, status, sentence = BAD[kind]
    answer = client.ask("/api/people", body)
    assert answer.status == status and sentence in answer.json["error"]
    assert client.ask("/api/people", PNG).status == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("people", {"models": "7"}),
        ("people", {"models": "0,0,0"}),
        ("people", {"models": "x"}),
        ("people", {"boxes": "[[1,2,3]]"}),
        ("people", {"boxes": "[" * 9999}),
        ("people", {"models": "1", "boxes": "[[1,2,NaN,4]]"}),
        ("sweep", {"model": "1", "boxes": "[[900,900,5,5]]"}),
        ("overlay", {"kind": "../../etc/passwd"}),
        ("camera", {"time": "inf"}),
        ("jobs", {"model": "9"}),
    ],
)
def test_bad_words_get_a_sentence(client: Client, path: str, words: dict) -> None:
    answer = client.ask(f"/api/{path}", PNG, **words)
    assert answer.status in (400, 422) and len(answer.json["error"]) > 10


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/api/jobs/1/../x", "/api/jobs/1/a"])
def test_no_path_of_the_browser_is_opened(client: Client, path: str) -> None:
    assert client.ask(path).status == 404


def test_a_large_body_is_refused_before_it_is_read(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), 20) as browser:
        browser.sendall(b"POST /api/people HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000000\r\n\r\n")
        assert b" 413 " in browser.recv(1000)
    chunks = (bytes(1_000_000) for _ in range(40))
    answer = client.ask("/api/people", chunks, headers={"Transfer-Encoding": "chunked"})  # which says no length
    assert answer.status == 413 and "30 MB" in answer.json["error"]


def test_a_refusal_does_not_hold_up_the_next_request_of_its_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "DRAIN_S", 1000.0)
    with contextlib.closing(client.connection(timeout=20)) as connection:
        for body, status in ((b"a text", 415), (PNG, 200)):
            connection.request("POST", "/api/people", body)
            answer = connection.getresponse()
            assert answer.status == status and answer.read()


def test_slow_and_vanishing_clients(client: Client) -> None:
    begin = b"POST /api/people HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000\r\n\r\n" + PNG[:50]
    for _ in range(QUEUE):
        with socket.create_connection(("127.0.0.1", client.port), 20) as browser:
            browser.sendall(begin)  # and leaves
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", client.port), 20) as browser:
        browser.sendall(begin)
        assert b" 408 " in browser.recv(1000)
    assert client.ask("/api/people", PNG).status == 200


def test_a_connection_that_asks_for_nothing_is_closed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_S", 0.3)
    with socket.create_connection(("127.0.0.1", client.port), 20) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        assert browser.recv(1000) == b""
    assert client.ask("/").status == 200


def test_a_full_line_says_when_to_come_back(client: Client) -> None:
    slow, extra = png(first=SLOW), 3
    with ThreadPoolExecutor(QUEUE + extra) as pool:
        answers = list(pool.map(lambda _: client.ask("/api/people", slow), range(QUEUE + extra)))
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.status for answer in answers} == {200, 503} and len(refused) == extra
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert client.ask("/api/people", PNG).status == 200


async def storm(port: int, requests: int) -> list[bytes]:
    """The answers to images that are sent at once, each over a connection of its own."""

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /api/people HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PNG)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + PNG)
        answer = await reader.read()
        writer.close()
        return answer

    return await asyncio.gather(*(one() for _ in range(requests)))


def test_a_thousand_requests_at_once_get_people_or_a_sentence(client: Client) -> None:
    answers = asyncio.run(storm(client.port, 1000))
    refused = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200 ")]
    assert len(answers) == 1000 and len(answers) - len(refused) >= QUEUE
    for answer in refused:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 2" in head
        assert "try again" in json.loads(body)["error"]
    assert client.ask("/api/people", PNG).status == 200


def test_more_requests_than_the_server_takes_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MOST_REQUESTS", 0)
    answer = client.ask("/")
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0 and "try again" in answer.json["error"]


def test_an_endless_call_and_a_crash_leave_the_server_alive() -> None:
    with serving(limit_s=2.5) as client:
        for first, status in ((FAILS, 500), (DIES, 500), (ENDLESS, 504)):
            answer = client.ask("/api/people", png(first=first))
            assert answer.status == status and answer.json["error"].endswith(".")
            assert client.ask("/api/people", PNG).status == 200


def test_other_pages_and_other_names_are_refused(client: Client) -> None:
    assert client.ask("/api/state", headers={"Host": "evil.example"}).status == 403
    assert client.ask("/", headers={"Host": f"localhost:{client.port}"}).status == 200
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.ask("/api/people", PNG, headers=foreign).status == 403
    own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
    assert client.ask("/api/people", PNG, headers=own).status == 200


@pytest.mark.slow
def test_fifty_clients_for_a_minute() -> None:
    with serving() as client:
        found = load.run(client, clients=50, seconds=60)
        assert not found.failures and set(found.statuses) <= {200, 503} and found.statuses[200] > 100
        assert found.memory_mb[-1] < found.memory_mb[len(found.memory_mb) // 4] + 50
        assert client.ask("/api/people", PNG).status == 200
