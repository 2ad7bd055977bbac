import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imagekit.base.errors import UserError
from imagekit.base.events import Outcome, StepEnded, StepStarted
from imagekit.build.request import BuildRequest, Secret
from imagekit.cli.build_inputs import open_source, read_secret
from imagekit.dockerfile.errors import DockerfileSyntaxError, Span
from imagekit.dockerfile.parse import parse
from imagekit.oci.mediatype import Compression
from imagekit.oci.platform import Platform

FakeEngine = Any
Invoke = Any
BUILT = SimpleNamespace(
    image=SimpleNamespace(id="sha256:1234", descriptor=SimpleNamespace(digest="sha256:5678"))
)


@pytest.fixture
def context(tmp_path: Path, engine: FakeEngine) -> Path:
    engine.answers["build"] = BUILT
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text("FROM scratch\nCOPPY a b\nENV a=b\n")
    return path


def request_of(engine: FakeEngine) -> BuildRequest:
    (request,), _ = engine.only_call("build")
    assert isinstance(request, BuildRequest)
    return request


def test_a_plain_build_has_the_defaults(invoke: Invoke, engine: FakeEngine, context: Path) -> None:
    result = invoke("build", str(context))

    assert result.exit_code == 0, result.stderr
    assert request_of(engine) == BuildRequest(context=context)
    assert result.stdout == ""
    assert result.stderr == "built sha256:1234\n"


def test_every_flag_reaches_the_request(
    invoke: Invoke, engine: FakeEngine, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_bytes(b"t0k")
    result = invoke(
        "build", "-t", "a:1", "-t", "b:2", "-f", str(context / "Dockerfile"),
        "--build-arg", "A=1", "--build-arg", "B", "--build-arg", "UNSET",
        "--target", "test", "--label", "x=y", "--label", "z",
        "--no-cache", "--no-cache-filter", "base", "--pull", "--platform", "linux/arm64/v8",
        "--secret", f"id=token,src={tmp_path / 'token'}", "--secret", "id=pass,env=PASS",
        "--build-context", "base=docker-image://debian", "--build-context", "src=/src",
        "--network", "none", "--add-host", "db:10.0.0.1", "-m", "512m", "--cpus", "1.5",
        "--compression", "zstd", "--reproducible", str(context),
        environ={"B": "2", "PASS": "p", "SOURCE_DATE_EPOCH": "17"},
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert request_of(engine) == BuildRequest(
        context=context,
        dockerfile=context / "Dockerfile",
        tags=("a:1", "b:2"),
        build_args={"A": "1", "B": "2"},
        target="test",
        platform=Platform("linux", "arm64"),
        labels={"x": "y", "z": ""},
        no_cache=True,
        no_cache_stages=("base",),
        pull=True,
        network="none",
        secrets=(Secret(id="token", value=b"t0k"), Secret(id="pass", value=b"p")),
        add_hosts=("db:10.0.0.1",),
        build_contexts={"base": "docker-image://debian", "src": "/src"},
        memory_bytes=512 << 20,
        cpus=1.5,
        compression=Compression.ZSTD,
        source_date_epoch=17,
        reproducible=True,
    )
    assert result.stderr.endswith("built sha256:1234 as a:1, b:2\n")


def test_quiet_prints_the_id_alone(invoke: Invoke, context: Path) -> None:
    result = invoke("build", "-q", str(context))

    assert (result.stdout, result.stderr) == ("sha256:1234\n", "")


def test_id_and_metadata_go_to_files(invoke: Invoke, context: Path, tmp_path: Path) -> None:
    invoke(
        "build", "-t", "a:1", "--iidfile", str(tmp_path / "iid"),
        "--metadata-file", str(tmp_path / "meta"), str(context),
    )  # fmt: skip

    assert (tmp_path / "iid").read_text() == "sha256:1234"
    assert json.loads((tmp_path / "meta").read_text()) == {
        "containerimage.config.digest": "sha256:1234",
        "containerimage.digest": "sha256:5678",
        "image.name": "a:1",
    }


def test_output_and_push_follow_the_build(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    result = invoke(
        "build", "-t", "r/a:1", "-o", "type=docker,dest=x.tar", "--push", "--insecure", str(context)
    )

    assert result.exit_code == 0, result.stderr
    assert engine.only_call("save") == ((("r/a:1",), Path("x.tar")), {"format": "docker-archive"})
    assert engine.only_call("push") == (("r/a:1",), {"insecure": True})


def test_output_of_an_image_without_a_name(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    result = invoke("build", "-o", "type=oci,dest=x.tar", str(context))

    assert result.exit_code == 0, result.stderr
    assert engine.only_call("save") == (
        ((BUILT.image,), Path("x.tar")),
        {"format": "oci-archive"},
    )


def test_a_wrong_output_stops_before_the_build(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    result = invoke("build", "-o", "type=gif,dest=x", str(context))

    assert result.exit_code == 2
    assert "type=oci,dest=FILE" in result.stderr
    assert engine.calls == []


def test_an_error_with_a_place_shows_the_lines(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    span = Span(file_name="Dockerfile", first_line=2, last_line=2, column=1)
    engine.answers["build"] = DockerfileSyntaxError(
        "unknown instruction: COPPY (did you mean COPY?)", span=span
    )

    result = invoke("build", str(context))

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Dockerfile:2",
        "--------------------",
        "   1 |     FROM scratch",
        "   2 | >>> COPPY a b",
        "     |     ^",
        "   3 |     ENV a=b",
        "   4 |     ",
        "--------------------",
        "imagekit: error: unknown instruction: COPPY (did you mean COPY?)",
    ]


def test_progress_goes_to_standard_error(invoke: Invoke, engine: FakeEngine, context: Path) -> None:
    def build(request: BuildRequest) -> object:
        engine.events(StepStarted(step=1, label="[1/1] RUN x"))
        engine.events(StepEnded(step=1, label="[1/1] RUN x", outcome=Outcome.CACHED))
        return BUILT

    engine.answers["build"] = build

    result = invoke("build", "--progress", "plain", str(context))

    assert result.stderr == "#1 [1/1] RUN x\n#1 CACHED\nbuilt sha256:1234\n"


def test_json_progress_is_json_to_the_last_line(invoke: Invoke, context: Path) -> None:
    result = invoke("build", "-t", "a", "--progress", "json", str(context))

    assert [json.loads(line) for line in result.stderr.splitlines()] == [
        {"event": "built", "id": "sha256:1234", "digest": "sha256:5678", "names": ["a"]}
    ]


def test_a_dockerfile_on_standard_input(invoke: Invoke, engine: FakeEngine, context: Path) -> None:
    result = invoke("build", "-f", "-", str(context), stdin="FROM scratch\n")

    assert result.exit_code == 0, result.stderr
    assert request_of(engine).dockerfile_text == "FROM scratch\n"
    assert request_of(engine).context == context


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere"], "build context 'nowhere' does not exist"),
        (["https://example.com/x.git"], "only local directories are read"),
        (["-f", "-", "-"], "cannot read both"),
        (["--platform", "amiga", "."], "unknown operating system"),
        (["-m", "lots", "."], "'lots' is not a size"),
        (["--secret", "id=x,src=/nowhere", "."], "secret 'x': cannot read /nowhere"),
        (["--build-context", "x", "."], "is not KEY=VALUE"),
    ],
)
def test_wrong_requests_are_told_without_an_engine(
    invoke: Invoke, engine: FakeEngine, arguments: list[str], problem: str
) -> None:
    result = invoke("build", *arguments)

    assert result.exit_code == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert engine.calls == []


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"FROM"))
    return stream.getvalue()


def test_a_tar_archive_as_context_is_gone_afterwards(tmp_path: Path) -> None:
    with open_source("-", None, io.BytesIO(archive("Dockerfile")), directory=tmp_path) as source:
        assert (source.context / "Dockerfile").read_bytes() == b"FROM"
        assert source.dockerfile_text is None

    assert not source.context.exists()


def test_an_archive_cannot_write_outside_the_context(tmp_path: Path) -> None:
    evil = io.BytesIO(archive("../evil"))

    with (
        pytest.raises(UserError, match="cannot unpack"),
        open_source("-", None, evil, directory=tmp_path),
    ):
        pass  # pragma: no cover


def test_a_dockerfile_alone_has_an_empty_context(tmp_path: Path) -> None:
    with open_source("-", None, io.BytesIO(b"FROM scratch\n"), directory=tmp_path) as source:
        assert source.dockerfile_text == "FROM scratch\n"
        assert list(source.context.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"id": "a", "env": "V"}, b"from V"),
        ({"id": "V"}, b"from V"),
        ({"id": "file"}, b"from file"),
        ({"id": "a", "src": "file"}, b"from file"),
        ({"id": "a", "type": "env", "src": "V"}, b"from V"),
    ],
)
def test_secrets(tmp_path: Path, fields: dict[str, str], value: bytes) -> None:
    (tmp_path / "file").write_bytes(b"from file")

    assert read_secret(fields, {"V": "from V"}, tmp_path).value == value


def test_bytes_that_are_not_utf8_reach_the_parser(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    result = invoke("build", "-f", "-", str(context), stdin=b"# caf\xe9\nFROM scratch\n")

    assert result.exit_code == 0, result.stderr
    assert request_of(engine).dockerfile_text == "# caf\udce9\nFROM scratch\n"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": "a", "env": "UNSET"}, "variable UNSET is not set"),
        ({"id": "a", "source": "none"}, "cannot read"),
        ({"foo": "a"}, "unknown field 'foo'"),
        ({}, "id is missing"),
    ],
)
def test_wrong_secrets(tmp_path: Path, fields: dict[str, str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_secret(fields, {}, tmp_path)


def test_everything_that_is_wrong_with_a_dockerfile_is_shown_its_first_error_last(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    text = "FROM scratch\nCOPPY a b\nENV\n"
    (context / "Dockerfile").write_text(text)
    engine.answers["build"] = lambda request: parse(text)

    result = invoke("build", str(context))

    assert result.exit_code == 2
    told = [line for line in result.stderr.splitlines() if "error:" in line or ">>>" in line]
    assert told == [
        "   3 | >>> ENV",
        "imagekit: error: dockerfile parse error on line 3: ENV requires at least one argument",
        "   2 | >>> COPPY a b",
        (
            "imagekit: error: dockerfile parse error on line 2: unknown instruction: COPPY "
            "(did you mean COPY?)"
        ),
    ]
