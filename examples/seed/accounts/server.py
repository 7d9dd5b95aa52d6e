#!/usr/bin/env python3
"""Stands for the service that you have already: it knows accounts, and whether a login is good.

    server.py [PORT]                      8080 unless another is given; 0 chooses one
    curl -u alice:alice-secret http://127.0.0.1:8080/session
"""

import base64
import hmac
import http.server
import signal
import sys

ACCOUNTS = {"alice": "alice-secret", "bob": "bob-secret"}


def good(header):
    """Tells whether a header Authorization has the name and the password of an account."""
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return False
    want = ACCOUNTS.get(name, "")
    return want != "" and hmac.compare_digest(password.encode(), want.encode())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/session":
            self.reply(404)
        elif good(self.headers.get("Authorization", "")):
            self.reply(204)
        else:
            self.reply(401)

    def reply(self, status):
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="accounts"')
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
