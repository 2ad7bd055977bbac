"""The process: its command line, its ready line, signals, workers and TLS."""

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.digest import Digest
from registry_server.config import Defaults, Settings, parse_listen
from registry_server.errors import ServerStartError, SettingsError
from registry_server.main import main
from registry_server.server import bind
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api, Eventually

REPOSITORY_ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def process(root: Path, *options: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """Yield a running registry process and its address; it is killed at the end."""
    arguments = ["--root", str(root), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(
        [sys.executable, "-m", "registry_server", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY_ROOT,
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:")
            yield running, line.split()[-1]
        finally:
            running.kill()


@pytest.mark.parametrize("options", [[], ["--workers", "2"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_cleanly(
    tmp_path: Path, options: list[str], number: signal.Signals
) -> None:
    with process(tmp_path, *options) as (running, host):
        assert urllib.request.urlopen(f"http://{host}/v2/").status == 200

        running.send_signal(number)

        assert running.wait(10) == 0


SIGNALLED_WHILE_STARTING = """
import os, signal, sys
from pathlib import Path
from registry_server.config import Settings
from registry_server.main import serve

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
serve(Settings(root=Path(sys.argv[1]), port=0, workers=2))
"""


def test_signal_before_all_workers_are_there_ends_the_process(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SIGNALLED_WHILE_STARTING, tmp_path],
        capture_output=True,
        text=True,
        cwd=REPOSITORY_ROOT,
        check=False,
        timeout=20,
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_running_upload_is_finished_after_sigterm(tmp_path: Path, eventually: "Eventually") -> None:
    content = bytes(1000)
    with process(tmp_path) as (running, host):
        address, _, port = host.partition(":")
        with socket.create_connection((address, int(port))) as connection:
            connection.sendall(
                f"POST /v2/a/blobs/uploads/?digest={Digest.of(content)} HTTP/1.1\r\n"
                f"Host: {host}\r\nContent-Length: 1000\r\n\r\n".encode()
                + content[:500]
            )
            eventually(lambda: any(tmp_path.glob("repositories/a/_uploads/*")))
            running.send_signal(signal.SIGTERM)
            eventually(lambda: not is_listening(address, int(port)))

            connection.sendall(content[500:])

            assert connection.recv(65536).startswith(b"HTTP/1.1 201")
        assert running.wait(10) == 0
    assert list(tmp_path.glob("blobs/sha256/*/*"))


def is_listening(address: str, port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((address, port)):
        return True
    return False


def test_worker_processes_continue_each_others_uploads(
    tmp_path: Path, make_api: "type[Api]"
) -> None:
    content = bytes(range(256)) * 16
    digest = str(Digest.of(content))
    with process(tmp_path) as (_, first), process(tmp_path) as (_, second):
        apis = [make_api(first), make_api(second)]
        location = apis[0].start("a")
        for turn, start in enumerate(range(0, len(content), 1024)):
            span = {"Content-Range": f"{start}-{start + 1023}"}
            answer = apis[turn % 2]("PATCH", location, content[start : start + 1024], span)
            assert answer.status == 202
            location = answer.location

        assert apis[1].put(location, digest).status == 201

        assert apis[0]("GET", f"/v2/a/blobs/{digest}").body == content


def test_two_workers_answer_on_one_address(tmp_path: Path, make_api: "type[Api]") -> None:
    with process(tmp_path, "--workers", "2") as (running, host):
        api = make_api(host)
        api.push_manifest("a", api.image("a"), tag="v1")
        for _ in range(20):
            assert api("GET", "/v2/a/manifests/v1").status == 200
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        assert len(children) == 2


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as (running, _):
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        watched = [os.pidfd_open(int(pid)) for pid in children]

        running.kill()

        for descriptor in watched:
            assert select.select([descriptor], [], [], 10)[0]
            os.close(descriptor)


def test_killed_worker_ends_the_others_with_an_error(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as (running, _):
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()

        os.kill(int(children[0]), signal.SIGKILL)

        assert running.wait(10) == ServerStartError.exit_code


def test_registry_survives_kill_9_during_a_push(tmp_path: Path, make_api: "type[Api]") -> None:
    content = bytes(range(256)) * 4096
    digest = str(Digest.of(content))
    with process(tmp_path) as (running, host):
        location = make_api(host).start("a")
        address, _, port = host.partition(":")
        with socket.create_connection((address, int(port))) as connection:
            connection.sendall(
                f"PATCH {location} HTTP/1.1\r\nHost: {host}\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content[:600_000]
            )
            running.kill()
            running.wait()

    with process(tmp_path) as (_, host):
        api = make_api(host)
        assert api("HEAD", f"/v2/a/blobs/{digest}").status == 404
        received = api("GET", location).header("Range")
        offset = 0 if received == "0-0" else int(received.removeprefix("0-")) + 1
        assert api.put(location, digest, content[offset:]).status == 201
        assert api("GET", f"/v2/a/blobs/{digest}").body == content


def test_address_in_use_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code = main(["--root", str(tmp_path), "--listen", f"127.0.0.1:{port}"])

    assert code == ServerStartError.exit_code
    assert "cannot listen on 127.0.0.1:" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unusable_directory_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    (tmp_path / "file").touch()

    code = main(["--root", str(tmp_path / "file"), "--listen", "127.0.0.1:0", "--workers", workers])

    assert code == ServerStartError.exit_code
    assert "cannot use" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--tls-cert", "x"],
        ["--tls-cert", "x", "--tls-key", "y"],
        ["--anonymous-pull"],
        ["--workers", "0"],
        ["--htpasswd", "/nonexistent"],
        ["--htpasswd", "/nonexistent", "--workers", "2"],
        ["--listen", "nonsense"],
        ["--listen", "127.0.0.1:99999"],
    ],
)
def test_bad_settings_are_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    code = main(["--root", str(tmp_path), "--listen", "127.0.0.1:0", *options])

    assert code == SettingsError.exit_code
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        (":80", ("0.0.0.0", 80)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_listen_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "5000", "::1:5000", "host:", "host:x", "host:70000"])
def test_other_listen_texts_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_listen(text)


def test_environment_gives_defaults() -> None:
    given = {"REGISTRY_SERVER_ROOT": "/srv", "REGISTRY_SERVER_LISTEN": ":1", "OTHER": "x"}

    defaults = Defaults.from_environment(given)

    assert (defaults.root, defaults.listen, defaults.htpasswd) == (Path("/srv"), ":1", None)
    assert Defaults.from_environment({}).listen == "127.0.0.1:5000"


def test_port_0_is_chosen_by_the_kernel(tmp_path: Path) -> None:
    with bind(Settings(root=tmp_path, port=0)) as sock:
        assert sock.getsockname()[1] != 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.mark.parametrize("size", [1000, 5_000_001])
def test_blobs_travel_over_tls(tmp_path: Path, certificate: tuple[Path, Path], size: int) -> None:
    cert, key = certificate
    content = os.urandom(size)
    digest = Digest.of(content)
    context = ssl.create_default_context(cafile=str(cert))
    with running_registry(tmp_path, tls_cert=cert, tls_key=key) as registry:
        assert registry.url.startswith("https://")
        push = urllib.request.Request(
            f"{registry.url}/v2/a/blobs/uploads/?digest={digest}", content, method="POST"
        )
        with urllib.request.urlopen(push, context=context) as answer:
            assert answer.status == 201

        pull = urllib.request.Request(f"{registry.url}/v2/a/blobs/{digest}")
        with urllib.request.urlopen(pull, context=context) as answer:
            assert answer.read() == content
        pull.add_header("Range", f"bytes=10-{size - 10}")
        with urllib.request.urlopen(pull, context=context) as answer:
            assert (answer.status, answer.read()) == (206, content[10 : size - 9])
