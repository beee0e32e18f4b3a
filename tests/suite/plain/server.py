"""A service that knows nothing of Jina. Prints its port, then serves until it is killed."""

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


# Requests so far.
served = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        global served
        served += 1
        length = int(self.headers.get("content-length", 0))
        sent = self.rfile.read(length)
        path = self.path.split("?")[0]
        told = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": sent.decode(),
        }
        body = json.dumps(told).encode()
        kind = ("content-type", "application/json")
        if path == "/status/404":
            self.reply(404, b'{"detail": "no such thing"}', [kind])
        elif path == "/gzip":
            self.reply(200, gzip.compress(body), [kind, ("content-encoding", "gzip")])
        elif path == "/text":
            self.reply(200, "größe".encode(), [("content-type", "text/plain; charset=utf-8"), ("x-one", "a"), ("x-one", "b")])
        elif path.startswith("/moved/"):
            self.reply(int(path.split("/")[2]), headers=[("location", "/landed?from=" + path)])
        elif path == "/away":
            self.reply(302, headers=[("location", "http://elsewhere.invalid/")])
        elif path == "/around":
            self.reply(302, headers=[("location", "/around")])
        elif path == "/slow":
            time.sleep(0.3)
            self.reply(200, body, [kind])
        elif path == "/served":
            self.reply(200, json.dumps({"served": served}).encode(), [kind])
        elif path == "/echo401":
            # The body as JSON in JSON, and the path as it came.
            self.reply(401, json.dumps({"detail": told["path"] + " " + told["body"]}).encode(), [kind])
        elif path == "/post":
            # As a v1 Flow answers, with what it was sent for its parameters.
            request = json.loads(sent)
            answer = {
                "header": {"requestId": "a", "status": None, "execEndpoint": "/"},
                "parameters": told,
                "routes": [],
                "data": request.get("data", []),
            }
            self.reply(200, json.dumps(answer).encode(), [kind])
        elif path == "/nothing":
            self.reply(204)
        else:
            self.reply(200, body, [kind])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
