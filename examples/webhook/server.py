#!/usr/bin/env python3
"""Answers the questions of Customhouse by HTTP. server.py PORT; 0 chooses one. It stands for the service that you have."""

import hashlib
import hmac
import http.server
import json
import os
import signal
import sys
import time

KEY = os.environ.get("WEBHOOK_SECRET", "a secret that both of them know").encode()
PASSWORD = os.environ.get("CICD_SECRET", "change-me-please")


def genuine(header, body):
    """Tells whether Customhouse has sent body, within the last five minutes."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    seconds = parts.get("t", "")
    if not seconds.isdigit() or abs(time.time() - int(seconds)) > 300:
        return False
    want = hmac.new(KEY, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(want.encode(), parts.get("v1", "").encode())


def answer(question):
    if question["type"] == "authenticate":
        if question["account"] != "cicd":
            return {"result": "no_match"}
        if hmac.compare_digest(question["password"].encode(), PASSWORD.encode()):
            return {"result": "allow", "labels": {"group": ["CICD"]}}
        return {"result": "deny", "reason": "wrong password"}
    groups = question.get("labels", {}).get("group", [])
    resource = question["resource"]
    if "CICD" in groups and resource["type"] == "repository" and resource["name"].startswith("ci/"):
        return {"result": "allow", "actions": ["pull", "push"], "reason": "the group CICD builds here"}
    return {"result": "no_match"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection for the next question

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not genuine(self.headers.get("Customhouse-Signature", ""), body):
            self.reply(403, {"result": "error"})
        else:
            self.reply(200, answer(json.loads(body)))

    def reply(self, status, content):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
