"""The bundled registry beside docker-registry: interleaved runs, medians and ratios.

    python tests/benchmarks/bench_registry_server.py [--rounds 3] [--seconds 2]

Needs wrk, curl, skopeo and docker-registry. Load generator and server share the machine, so only
the ratios mean something. CPU is the server process tree's, memory its peak.
"""

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).parent.parent.parent
NEEDED = ("wrk", "curl", "skopeo", "docker-registry")
BIG_BYTES = 100 << 20
LAYERS = 3
PEER = "docker-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """One server process with what was pushed to it."""

    name: str
    host: str
    pid: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    blob: str = ""
    small: str = ""

    def add(self, figure: str, value: float) -> None:
        self.figures.setdefault(figure, []).append(value)

    def tree(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu_s(self) -> float:
        total = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def peak_mib(self) -> float:
        return (
            sum(
                int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
                for pid in self.tree()
            )
            / 1024
        )


@contextlib.contextmanager
def started(name: str, command: list[str], host: str) -> Iterator[Server]:
    with subprocess.Popen(
        command, cwd=REPOSITORY_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            address, _, port = host.partition(":")
            for _ in range(500):
                with contextlib.suppress(OSError):
                    socket.create_connection((address, int(port))).close()
                    break
                time.sleep(0.02)
            yield Server(name, host, process.pid)
        finally:
            process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        found = []
        for workers in (1, 2):
            host = f"127.0.0.1:{free_port()}"
            root = directory / f"imagekit-{workers}"
            command = [sys.executable, "-m", "registry_server", "--root", str(root)]
            command += ["--listen", host, "--workers", str(workers)]
            found.append(stack.enter_context(started(f"imagekit, {workers}", command, host)))
        host = f"127.0.0.1:{free_port()}"
        config = directory / "docker-registry.json"
        config.write_text(
            json.dumps(
                {
                    "version": "0.1",
                    "log": {"level": "error", "accesslog": {"disabled": True}},
                    "storage": {"filesystem": {"rootdirectory": str(directory / "peer")}},
                    "http": {"addr": host},
                }
            )
        )
        command = ["docker-registry", "serve", str(config)]
        found.append(stack.enter_context(started(PEER, command, host)))
        yield found


def request(method: str, url: str, body: bytes = b"", content_type: str = "a/b") -> str:
    asked = urllib.request.Request(url, body, {"Content-Type": content_type}, method=method)
    with urllib.request.urlopen(asked) as answer:
        return str(answer.headers["Location"] or "")


def upload_url(server: Server, repository: str, digest: str) -> str:
    base = f"http://{server.host}"
    location = request("POST", f"{base}/v2/{repository}/blobs/uploads/")
    location = location if location.startswith("http") else base + location
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def prepare(server: Server, big: bytes) -> None:
    """Push a small image and a large blob."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "x": "y" * 560}).encode()
    for content in (config, big):
        request("PUT", upload_url(server, "bench/app", sha256(content)), content)
    server.small, server.blob = sha256(config), sha256(big)
    entries = [
        {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": server.small},
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": server.blob},
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {**entries[0], "size": len(config)},
        "layers": [{**entries[1], "size": len(big)}],
    }
    url = f"http://{server.host}/v2/bench/app/manifests/v1"
    request("PUT", url, json.dumps(manifest).encode(), MANIFEST)


def wrk(server: Server, path: str, connections: int, seconds: int) -> tuple[float, float, float]:
    """Return requests per second, MiB per second, and CPU seconds of the server per request."""
    before = server.cpu_s()
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"),
            *("-H", f"Accept: {MANIFEST}", f"http://{server.host}{path}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Non-2xx" not in done, done
    requests, duration, amount, unit = re.findall(
        r"(\d+) requests in ([\d.]+)s, ([\d.]+)(KB|MB|GB|B) read", done
    )[0]
    factor = {"B": 1 / (1 << 20), "KB": 1 / 1024, "MB": 1.0, "GB": 1024.0}[unit]
    rate = float(amount) * factor / float(duration)
    cpu = server.cpu_s() - before
    return int(requests) / float(duration), rate, cpu / max(int(requests), 1)


def measure_requests(server: Server, seconds: int) -> None:
    for label, path in (
        ("manifest by tag", "/v2/bench/app/manifests/v1"),
        ("small blob", f"/v2/bench/app/blobs/{server.small}"),
    ):
        cpu = 0.0
        for connections in (1, 8, 64):
            rate, _, cpu = wrk(server, path, connections, seconds)
            server.add(f"{label}, {connections} clients (req/s)", rate)
        server.add(f"{label}, 64 clients (CPU us/req)", cpu * 1e6)
    for connections in (1, 8):
        before = server.cpu_s()
        _, rate, _ = wrk(server, f"/v2/bench/app/blobs/{server.blob}", connections, seconds)
        server.add(f"100 MiB blob, {connections} clients (MiB/s)", rate)
        spent = server.cpu_s() - before
        server.add(
            f"100 MiB blob, {connections} clients (CPU s/GiB)", spent * 1024 / rate / seconds
        )


def measure_uploads(server: Server, directory: Path) -> None:
    """Push unseen content, as an existing blob would not be written."""
    for connections in (1, 4):
        urls, files = [], []
        for number in range(connections):
            file = directory / f"upload-{number}"
            content = os.urandom(1 << 20) * (BIG_BYTES >> 20)
            content = os.urandom(64) + content[64:]
            file.write_bytes(content)
            urls.append(upload_url(server, "bench/push", sha256(content)))
            files.append(file)
        begin = time.monotonic()
        running = [
            subprocess.Popen(["curl", "-sf", "-T", str(file), "-H", "Expect:", url])
            for file, url in zip(files, urls, strict=True)
        ]
        assert all(process.wait() == 0 for process in running)
        spent = time.monotonic() - begin
        server.add(f"upload, {connections} clients (MiB/s)", connections * 100 / spent)


def write_layout(directory: Path) -> None:
    """Write an image of incompressible gzip layers, unseen by any server."""
    shutil.rmtree(directory, ignore_errors=True)
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        digest = sha256(content)
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    layers, diff_ids = [], []
    for _ in range(LAYERS):
        content = os.urandom(BIG_BYTES)
        diff_ids.append(sha256(content))
        packed = gzip.compress(content, 0)
        layers.append(blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    named = blob(json.dumps(manifest).encode(), MANIFEST)
    named["annotations"] = {"org.opencontainers.image.ref.name": "app"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def measure_skopeo(server: Server, layout: Path, target: Path) -> None:
    reference = f"docker://{server.host}/bench/skopeo:v1"
    copy = ["skopeo", "--insecure-policy", "copy", "-q"]
    for label, command in (
        ("push", [*copy, "--dest-tls-verify=false", f"oci:{layout}:app", reference]),
        ("pull", [*copy, "--src-tls-verify=false", reference, f"oci:{target}:app"]),
    ):
        begin = time.monotonic()
        subprocess.run(command, check=True)
        server.add(f"skopeo {label} of 300 MiB (s)", time.monotonic() - begin)
    shutil.rmtree(target)


def report(found: list[Server]) -> None:
    peer = found[-1]
    print(f"{'':38}" + "".join(f"{server.name:>18}" for server in found) + "     ratios")
    for figure in peer.figures:
        middle = [statistics.median(server.figures[figure]) for server in found]
        base = middle[-1] or float("nan")
        ratios = " ".join(f"{value / base:6.2f}" for value in middle[:-1])
        print(f"{figure:38}" + "".join(f"{value:18.2f}" for value in middle) + f"  {ratios}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args()
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        print("not measured; missing: " + ", ".join(missing))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as name:
        directory = Path(name)
        layout = directory / "layout"
        big = os.urandom(BIG_BYTES)
        with servers(directory) as found:
            for server in found:
                prepare(server, big)
            for _ in range(given.rounds):
                write_layout(layout)
                for server in found:
                    measure_requests(server, given.seconds)
                for server in found:
                    measure_uploads(server, directory)
                for server in found:
                    measure_skopeo(server, layout, directory / "pulled")
            for server in found:
                server.add("peak memory (MiB)", server.peak_mib())
            report(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
