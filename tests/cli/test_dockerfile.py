"""``imagekit dockerfile``."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

_TEXT = "ARG V=1\nFROM base:$V AS one\nRUN <<E\nx\nE\nFROM scratch\nCOPY --from=one /a /b\n"


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(_TEXT)
    return path


def test_parse_dumps_statements(invoke: Invoke, dockerfile: Path) -> None:
    result = invoke("dockerfile", "parse", str(dockerfile))

    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == [
        '(arg "V=1")',
        '(from "base:$V" "AS" "one")',
        '(run "<<E")',
    ]


@pytest.mark.parametrize("command", ["parse", "stages"])
def test_a_dash_is_standard_input(invoke: Invoke, dockerfile: Path, command: str) -> None:
    result = invoke("dockerfile", command, "-", stdin=_TEXT)

    assert result.exit_code == 0
    assert result.stdout == invoke("dockerfile", command, str(dockerfile)).stdout


def test_parse_as_json_has_fields_and_places(invoke: Invoke, dockerfile: Path) -> None:
    document = json.loads(invoke("dockerfile", "parse", "--format", "json", str(dockerfile)).stdout)

    first = document["stages"][0]["instructions"][1]
    assert first["name"] == "RUN"
    assert first["span"]["first_line"] == 3
    assert first["span"]["last_line"] == 5
    assert first["command"]["document"]["body"] == "x\n"
    assert document["global_args"][0]["pairs"] == [["V", "1"]]


def test_stages_as_a_tree(invoke: Invoke, dockerfile: Path) -> None:
    result = invoke("dockerfile", "stages", "--build-arg", "V=2", str(dockerfile))

    assert result.stdout.splitlines() == [
        "0 one  lines 2-5",
        "  `-- from image base:2  line 2",
        "1 stage-1  lines 6-7",
        "  |-- from image scratch  line 6",
        "  `-- copy stage one  line 7",
    ]


def test_stages_as_json_and_dot(invoke: Invoke, dockerfile: Path) -> None:
    document = json.loads(
        invoke("dockerfile", "stages", "--format", "json", str(dockerfile)).stdout
    )
    dot = invoke("dockerfile", "stages", "--format", "dot", str(dockerfile)).stdout

    assert [node["name"] for node in document["nodes"]] == ["one", "stage-1"]
    assert dot.startswith("digraph stages {")


def test_errors_are_shown_together_with_their_lines(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM a\nCPOY a b\nRUN ok\nUSER\n")

    result = invoke("dockerfile", "parse", str(path))

    assert result.exit_code != 0
    assert "unknown instruction: CPOY (did you mean COPY?)" in result.stderr
    assert "USER requires exactly one argument" in result.stderr
    assert "   2 | >>> CPOY a b" in result.stderr
    assert "   4 | >>> USER" in result.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b"FROM a\nRUN x\0y\n"), "NUL character"),
        (lambda path: path.write_bytes(b"FROM a\nRUN \xff\n"), "not valid UTF-8"),
        (lambda path: path.write_bytes(b"\0" * (100 << 20)), "too large"),
        (lambda path: path.write_bytes(b"x" * (60 << 20)), "max allowed size of 65535"),
        (lambda path: path.write_bytes(b"RUN a \\\n" * 1_000_000), "continued over more than"),
    ],
)
def test_bad_files_are_refused_quickly(
    invoke: Invoke, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "Dockerfile"
    make(path)
    start = time.process_time()

    result = invoke("dockerfile", "parse", str(path))

    assert result.exit_code != 0
    assert message in result.stderr
    assert time.process_time() - start < 1.5
