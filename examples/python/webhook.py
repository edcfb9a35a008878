"""A receiver of webhooks, with Python's standard library alone.

It verifies signatures, handles each event once, and answers before it works on an event. Its secret is in
WEBHOOK_SECRET:

    WEBHOOK_SECRET=$(cat orders-webhook.secret) python examples/python/webhook.py --port 9000

Then configure the endpoint http://127.0.0.1:9000/hooks, and start the service. With `--count N` it ends after N events.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_SECONDS = 300
BODY_BYTES_MAX = 8 << 20


def whole_number(text: str) -> int | None:
    """The number of ASCII digits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def is_signed(secret: str, identifier: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Whether one of the signatures is by the secret, and recent."""
    if whole_number(timestamp) is None or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{identifier}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # In constant time: what differs where must not show.
    return any(hmac.compare_digest(expected, signature.encode()) for signature in signatures.split(" "))


class Receiver(ThreadingHTTPServer):
    """Puts each event into a queue, once."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.secret = secret
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        # A real receiver keeps these in its database, in the transaction that saves the event.
        self.seen: set[str] = set()
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        length = whole_number(self.headers.get("content-length", "0"))
        if length is None:
            return self.refuse(400)
        if length > BODY_BYTES_MAX:
            return self.refuse(413)
        body = self.rfile.read(length)
        identifier, timestamp, signatures = (
            self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        if not is_signed(self.server.secret, identifier, timestamp, signatures, body):
            return self.answer(401)
        with self.server.lock:
            if identifier not in self.server.seen:
                self.server.seen.add(identifier)
                self.server.events.put(json.loads(body))
        self.answer(204)

    def refuse(self, status: int) -> None:
        """Answers a request whose body is not read, so the connection cannot go on."""
        self.close_connection = True
        self.answer(status)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing of each request."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--count", type=int, help="end after so many events")
    options = parser.parse_args()
    receiver = Receiver(options.port, os.environ["WEBHOOK_SECRET"].strip())
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    print(f"listening on http://127.0.0.1:{receiver.server_port}/hooks", flush=True)
    count = 0
    while options.count is None or count < options.count:
        event = receiver.events.get()
        count += 1
        print(f"{event['type']} {event.get('subject', '')}", flush=True)
    receiver.shutdown()
    print(f"{count} events, each once")


if __name__ == "__main__":
    main()
