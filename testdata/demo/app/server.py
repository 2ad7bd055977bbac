"""The demo's web application: counts primes with a compiled program, and visits on its disk."""

import argparse
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.parse

VISITS = pathlib.Path("visits")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /, /primes?below=N and /healthz with JSON."""

    greeting = ""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/healthz":
            self.answer(200, {"status": "ok"})
        elif url.path == "/primes":
            self.primes(urllib.parse.parse_qs(url.query).get("below", ["100"])[0])
        elif url.path == "/":
            visits = int(VISITS.read_text()) + 1 if VISITS.exists() else 1
            VISITS.write_text(str(visits))
            self.answer(200, {"greeting": self.greeting, "visits": visits, "uid": os.getuid()})
        else:
            self.answer(404, {"error": f"no page {url.path}"})

    def primes(self, below: str) -> None:
        done = subprocess.run(["primes", below], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.answer(400, {"error": done.stderr.strip()})
            return
        self.answer(200, {"below": int(below), "primes": int(done.stdout)})

    def answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--greeting", default="hello")
    Handler.greeting = parser.parse_args().greeting
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8000"))
    with http.server.ThreadingHTTPServer(("", port), Handler) as server:
        print(f"listening on port {port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
