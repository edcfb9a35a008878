"""Answers that are given before the request was read arrive, whatever sends it.

Programs that people use send requests that are refused by their head, by their size, by a quota and by the limit of
connections: directly, through nginx, over HTTP/1.1 and over HTTP/2. None may report a connection that broke, and none
may miss an answer. Small bodies must not cost a connection either.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import requests

from service import PATIENCE, Service

REQUESTS = 500
AT_ONCE = 8
KEY_ROLE = "operator"

# Beyond all windows of HTTP/2 and all buffers of the kernel.
LARGE_BYTES = 3 << 20


@dataclass(frozen=True)
class Refusal:
    """A request that is refused before its body is read, and how."""

    answer: str
    method: str
    path: str
    headers: dict[str, str]
    bytes: int


@dataclass(frozen=True)
class Target:
    """Where to send, and the key to show."""

    url: str
    key: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port


RESERVE = "/v1/sales/drop/reservations"
JSON = {"Content-Type": "application/json"}
SMALL = [
    Refusal("429 rate_limited", "POST", "/v1/sales/limited/reservations", JSON, 300),
    Refusal("404 not_found", "POST", "/v1/nothing/here", JSON, 5_000),
    Refusal("405 method_not_allowed", "PUT", RESERVE, JSON, 300),
    Refusal("406 not_acceptable", "POST", RESERVE, JSON | {"Accept": "text/html"}, 300),
    Refusal("415 unsupported_media_type", "POST", RESERVE, {"Content-Type": "text/plain"}, 40_000),
    Refusal("401 unauthenticated", "POST", RESERVE, JSON | {"Authorization": "Bearer nobody"}, 300),
    Refusal("404 sale_not_found", "GET", "/v1/sales/none", {}, 0),
]
LARGE = [
    Refusal("413 content_too_large", "POST", RESERVE, JSON, 200_000),
    Refusal("413 content_too_large", "POST", RESERVE, JSON, LARGE_BYTES),
    Refusal("429 rate_limited", "POST", "/v1/sales/limited/reservations", JSON, 1_000_000),
    Refusal("404 not_found", "POST", "/v1/nothing/here", JSON, 2_000_000),
]
FULL = [
    Refusal("503 overloaded", "POST", RESERVE, JSON, 300),
    Refusal("503 overloaded", "GET", "/v1/sales", {}, 0),
    Refusal("503 overloaded", "POST", RESERVE, JSON, 300_000),
]


def listed(refusals: list[Refusal]) -> list[Refusal]:
    """As many as are sent. Most are small, as they are in a sale."""
    return [refusals[number % len(refusals)] for number in range(REQUESTS)]


def mixed() -> list[Refusal]:
    """Mostly small bodies, a large one now and then."""
    return [LARGE[number // 10 % len(LARGE)] if number % 10 == 9 else SMALL[number % 7] for number in range(REQUESTS)]


def headers(target: Target, refusal: Refusal) -> dict[str, str]:
    return {"Authorization": f"Bearer {target.key}"} | refusal.headers


def answer(status: int, body: bytes | str) -> str:
    return f"{status} {json.loads(body)['code']}"


def in_turn(send: Callable[[Refusal], str], refusals: list[Refusal]) -> list[str]:
    """The answers, one after the other; what went wrong stands in the place of one that did not come."""
    answers = []
    for refusal in refusals:
        try:
            answers.append(send(refusal))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    return answers


def with_http_client(target: Target, refusals: list[Refusal]) -> list[str]:
    """Python's http.client, which opens a connection again only when the answer said that it would be closed."""
    connection = http.client.HTTPConnection(*target.address, timeout=PATIENCE)

    def send(refusal: Refusal) -> str:
        try:
            connection.request(refusal.method, refusal.path, b" " * refusal.bytes, headers(target, refusal))
            told = connection.getresponse()
            return answer(told.status, told.read())
        except Exception:
            connection.close()
            raise

    with contextlib.closing(connection):
        return in_turn(send, refusals)


def with_requests(target: Target, refusals: list[Refusal]) -> list[str]:
    with requests.Session() as session:

        def send(refusal: Refusal) -> str:
            url, body = target.url + refusal.path, b" " * refusal.bytes
            told = session.request(refusal.method, url, data=body, headers=headers(target, refusal), timeout=PATIENCE)
            return answer(told.status_code, told.content)

        return in_turn(send, refusals)


def with_httpx(target: Target, refusals: list[Refusal], http2: bool = False) -> list[str]:
    with httpx.Client(http1=not http2, http2=http2, timeout=PATIENCE) as client:

        def send(refusal: Refusal) -> str:
            url, body = target.url + refusal.path, b" " * refusal.bytes
            told = client.request(refusal.method, url, content=body, headers=headers(target, refusal))
            return answer(told.status_code, told.content)

        return in_turn(send, refusals)


def with_httpx_http2(target: Target, refusals: list[Refusal]) -> list[str]:
    return with_httpx(target, refusals, http2=True)


def with_node(target: Target, refusals: list[Refusal]) -> list[str]:
    host, port = target.address
    asked = [
        {"method": one.method, "path": one.path, "headers": headers(target, one), "bytes": one.bytes}
        for one in refusals
    ]
    program = Path(__file__).with_name("closings.mjs")
    told = subprocess.run(
        ["node", program],
        input=json.dumps({"host": host, "port": port, "at_once": AT_ONCE, "requests": asked}),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    if told.returncode != 0:
        # An error of a socket whose answer was read already ends the whole program.
        errors = [line for line in told.stderr.splitlines() if line.startswith("Error")]
        return [f"Node ended: {errors or told.stderr}"] * len(refusals)
    answers: list[str] = json.loads(told.stdout)
    return answers


def with_curl(target: Target, refusals: list[Refusal], *options: str) -> list[str]:
    """One curl, which keeps its connection from request to request."""
    with tempfile.TemporaryDirectory() as directory:
        bodies = {}
        for size in {refusal.bytes for refusal in refusals}:
            bodies[size] = Path(directory, f"body-{size}")
            bodies[size].write_bytes(b" " * size)
        lines = []
        for number, refusal in enumerate(refusals):
            lines += ["next"] if number else []
            lines += [f'url = "{target.url}{refusal.path}"', f'request = "{refusal.method}"']
            lines += [f'output = "{directory}/answer-{number}"', r'write-out = "%{http_code} %{errormsg}\n"']
            # Without this curl asks first whether it may send a large body.
            lines += [f'header = "{name}: {value}"' for name, value in headers(target, refusal).items()]
            lines += [f'data-binary = "@{bodies[refusal.bytes]}"', 'header = "Expect:"'] if refusal.bytes else []
            lines += [*options, "silent", f"max-time = {int(PATIENCE)}"]
        configuration = Path(directory, "curl.conf")
        configuration.write_text("\n".join(lines) + "\n")
        told = subprocess.run(
            ["curl", "--config", configuration], capture_output=True, text=True, timeout=3 * PATIENCE
        ).stdout.splitlines()
        assert len(told) == len(refusals), f"curl tells of {len(told)} requests"
        answers = []
        for number, line in enumerate(told):
            status, _, error = line.partition(" ")
            try:
                answers.append(answer(int(status), Path(directory, f"answer-{number}").read_bytes()))
            except (OSError, ValueError):
                answers.append(f"curl: {status} {error}")
        return answers


def with_curl_http2(target: Target, refusals: list[Refusal]) -> list[str]:
    """A curl for each request: that of Debian 12 cannot use a connection of HTTP/2 twice."""
    with ThreadPoolExecutor(AT_ONCE) as curls:
        return list(curls.map(lambda one: with_curl(target, [one], "http2-prior-knowledge")[0], refusals))


CLIENTS: dict[str, Callable[[Target, list[Refusal]], list[str]]] = {
    "http.client": with_http_client,
    "requests": with_requests,
    "httpx": with_httpx,
    "httpx, HTTP/2": with_httpx_http2,
    "Node": with_node,
    "curl": with_curl,
    "curl, HTTP/2": with_curl_http2,
}


@contextlib.contextmanager
def nginx(service: str) -> Iterator[str]:
    """nginx before the service, with connections to it that are kept.

    It reads bodies before it passes them on. Told not to, it closes its client's connection without a word whenever an
    answer comes before the whole body.
    """
    with tempfile.TemporaryDirectory(prefix="doorbuster-nginx-") as directory, contextlib.ExitStack() as stack:
        # As root nginx would hand its files to another account.
        user = "user root;" if Path.home() == Path("/root") else ""
        port = free_port()
        Path(directory, "nginx.conf").write_text(
            f"""
            {user} daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log warn;
            events {{ worker_connections 512; }}
            http {{
                access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi; client_max_body_size 0;
                keepalive_requests 100000;
                upstream doorbuster {{ server {urlsplit(service).netloc} max_fails=0; keepalive 16; }}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{
                        proxy_pass http://doorbuster; proxy_http_version 1.1; proxy_set_header Connection "";
                        proxy_next_upstream off;
                    }}
                }}
            }}
            """
        )
        process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", directory, "-e", "error.log", "-c", "nginx.conf"], stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait, PATIENCE)
        stack.callback(process.terminate)
        wait_for("nginx", lambda: is_open(port))
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends, f"waited in vain for {what}"
        time.sleep(0.02)


def sale(quota: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "name": "Drop",
        "opens_at": "2026-01-01T00:00:00Z",
        "closes_at": "2099-01-01T00:00:00Z",
        "hold_seconds": 60,
        "items": [{"sku": "tv", "initial_stock": 10}],
    }
    if quota:
        document["rate_limits"] = {"sale": {"requests": 1, "window_seconds": 86_400}}
    return document


class Judge:
    """Compares what clients got with what they should get, and keeps what was wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.answered = 0
        self.lock = threading.Lock()

    def run(self, client: str, way: str, target: Target, refusals: list[Refusal]) -> None:
        started = time.monotonic()
        answers = CLIENTS[client](target, refusals)
        if "--verbose" in sys.argv:
            print(f"{client} {way}: {time.monotonic() - started:.1f} s", flush=True)
        pairs = zip(refusals, answers, strict=True)
        wrong = Counter((one.answer, one.bytes, got) for one, got in pairs if one.answer != got)
        with self.lock:
            self.answered += len(answers) - sum(wrong.values())
            for (expected, size, got), times in wrong.items():
                self.wrong.append(f"{client} {way}: {times} times {got!r}, not {expected!r}, with {size} bytes")


def past_limits(judge: Judge) -> None:
    """Refusals by head, quota and size."""
    with Service((KEY_ROLE,)) as service, contextlib.ExitStack() as stack:
        service.send("PUT", "/v1/sales/drop", sale(quota=False), KEY_ROLE)
        service.send("PUT", "/v1/sales/limited", sale(quota=True), KEY_ROLE)
        direct = Target(service.url, service.keys[KEY_ROLE])
        # The first is let in; it is no reservation, but counts.
        in_turn(lambda one: with_http_client(direct, [one])[0], SMALL[:1])
        ways = {"directly": direct, "through nginx": Target(stack.enter_context(nginx(service.url)), direct.key)}
        clients = stack.enter_context(ThreadPoolExecutor(4))
        runs = [(name, "directly") for name in CLIENTS]
        runs += [(name, "through nginx") for name in ["http.client", "requests", "Node", "curl"]]
        done = [clients.submit(judge.run, client, way, ways[way], mixed()) for client, way in runs]
        for one in done:
            one.result()
        small_bodies_keep_their_connection(judge, direct)
        items = service.get("/v1/sales/drop", KEY_ROLE)["items"]
        assert items[0]["available"] == 10, f"something was reserved: {items}"
        service.stop()


def small_bodies_keep_their_connection(judge: Judge, target: Target) -> None:
    """One connection is enough for any number of small bodies that are refused."""

    class Counted(http.client.HTTPConnection):
        opened = 0

        def connect(self) -> None:
            Counted.opened += 1
            super().connect()

    connection = Counted(*target.address, timeout=PATIENCE)

    def send(refusal: Refusal) -> str:
        connection.request(refusal.method, refusal.path, b" " * refusal.bytes, headers(target, refusal))
        told = connection.getresponse()
        return answer(told.status, told.read())

    with contextlib.closing(connection):
        in_turn(send, listed(SMALL))
    if Counted.opened != 1:
        judge.wrong.append(f"{REQUESTS} small bodies took {Counted.opened} connections")


def past_the_limit_of_connections(judge: Judge) -> None:
    places = 2
    with Service((KEY_ROLE,), {"limits.connections_max": places}) as service, contextlib.ExitStack() as stack:
        target = Target(service.url, service.keys[KEY_ROLE])
        for _ in range(places):
            holder = http.client.HTTPConnection(*target.address, timeout=PATIENCE)
            stack.callback(holder.close)
            holder.request("GET", "/v1/sales", headers={"Authorization": f"Bearer {target.key}"})
            assert holder.getresponse().read()
        proxied = Target(stack.enter_context(nginx(service.url)), target.key)
        clients = stack.enter_context(ThreadPoolExecutor(4))
        done = [clients.submit(judge.run, client, "past the limit", target, listed(FULL)) for client in CLIENTS]
        done += [
            clients.submit(judge.run, client, "past the limit through nginx", proxied, listed(FULL))
            for client in ["http.client", "curl"]
        ]
        for one in done:
            one.result()
        stack.close()
        service.stop()


def main() -> int:
    started = time.monotonic()
    judge = Judge()
    past_limits(judge)
    past_the_limit_of_connections(judge)
    for line in sorted(judge.wrong):
        print(line, file=sys.stderr)
    seconds = time.monotonic() - started
    print(f"{judge.answered} refusals arrived, in {seconds:.0f} s; {len(judge.wrong)} kinds of faults")
    return 1 if judge.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
