"""``imagekit build --check``: what is printed, written and returned."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from imagekit.build.request import BuildRequest
from imagekit.cli.checks import warning_lines
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.findings import LintReport
from imagekit.dockerfile.lint.settings import LintSettings

FakeEngine = Any
Invoke = Any

_TEXT = "FROM scratch as base\nRUN x\n"


@pytest.fixture
def context(tmp_path: Path, engine: FakeEngine) -> Path:
    def check(request: BuildRequest, **_how: bool) -> LintReport:
        path = request.dockerfile or request.context / "Dockerfile"
        text = request.dockerfile_text or path.read_bytes()
        return lint(text, settings=LintSettings(target=request.target))

    engine.answers["check"] = check
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text(_TEXT)
    return path


def test_findings_are_printed_and_fail(invoke: Invoke, engine: FakeEngine, context: Path) -> None:
    result: Result = invoke("build", "--check", "--target", "base", str(context))

    assert result.exit_code == 1
    assert result.stdout.startswith(
        "Check complete, 1 warning has been found!\n\nWARNING: FromAsCasing - https://"
    )
    assert result.stdout.endswith("----\n")
    assert result.stderr == ""
    assert [name for name, _, _ in engine.calls] == ["check"]
    assert engine.calls[0][1][0].target == "base"


def test_a_good_file_succeeds(invoke: Invoke, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n")

    result = invoke("build", "--check", str(context))

    assert result.exit_code == 0
    assert result.stdout == "Check complete, no warnings found.\n"


def test_an_error_alone_has_no_summary(invoke: Invoke, context: Path) -> None:
    (context / "Dockerfile").write_text("BAD\n")

    result = invoke("build", "--check", str(context))

    assert result.exit_code == 1
    assert result.stdout.startswith("dockerfile parse error on line 1: unknown instruction: BAD")


@pytest.mark.parametrize("name", ["json", "sarif"])
def test_documents_are_alone_on_standard_output(invoke: Invoke, context: Path, name: str) -> None:
    result = invoke("build", "--check", "--format", name, str(context))

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert ("warnings" in document) == (name == "json")
    assert ("runs" in document) == (name == "sarif")


def test_sarif_names_the_file_from_here(
    invoke: Invoke, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context.parent)

    result = invoke("build", "--check", "--format", "sarif", "context")

    (finding,) = json.loads(result.stdout)["runs"][0]["results"]
    place = finding["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "context/Dockerfile"
    assert place["region"] == {"startLine": 1, "endLine": 1}


def test_images_of_which_nothing_is_known_are_named(
    invoke: Invoke, engine: FakeEngine, context: Path
) -> None:
    engine.answers["check"] = LintReport(
        file_name="Dockerfile", text="", unknown_images=("debian:12",)
    )

    result = invoke("build", "--check", str(context))

    assert result.exit_code == 0
    assert result.stderr == (
        "note: nothing is known of debian:12: variables that it sets count as undefined\n"
    )


class TestFix:
    def test_the_file_is_corrected_and_what_is_left_printed(
        self, invoke: Invoke, context: Path
    ) -> None:
        path = context / "Dockerfile"
        path.write_bytes(b"# \xff\r\nFROM scratch as base\r\nCMD x\r\n")
        path.chmod(0o640)

        result = invoke("build", "--check", "--fix", str(context))

        assert path.read_bytes() == b"# \xff\r\nFROM scratch AS base\r\nCMD x\r\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert result.exit_code == 1
        assert "WARNING: JSONArgsRecommended" in result.stdout
        assert "FromAsCasing" not in result.stdout
        assert result.stderr == f"corrected 1 line of {path}\n"

    def test_nothing_to_correct_writes_nothing(self, invoke: Invoke, context: Path) -> None:
        path = context / "Dockerfile"
        path.write_text("FROM scratch\n")
        before = path.stat().st_ino

        result = invoke("build", "--check", "--fix", str(context))

        assert result.exit_code == 0
        assert result.stderr == ""
        assert path.stat().st_ino == before

    def test_a_link_stays_a_link(self, invoke: Invoke, context: Path, tmp_path: Path) -> None:
        target = tmp_path / "real"
        target.write_text(_TEXT)
        path = context / "linked"
        path.symlink_to(os.path.relpath(target, context))

        invoke("build", "--check", "--fix", "-f", str(path), str(context))

        assert path.is_symlink()
        assert target.read_text() == "FROM scratch AS base\nRUN x\n"

    def test_standard_input_cannot_be_corrected(self, invoke: Invoke, context: Path) -> None:
        result = invoke("build", "--check", "--fix", "-f", "-", str(context), stdin=_TEXT)

        assert result.exit_code != 0
        assert "cannot correct a Dockerfile that comes from standard input" in result.stderr

    def test_a_file_that_cannot_be_replaced(
        self, invoke: Invoke, context: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_given: object, **_options: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "/tmp/.Dockerfile.1.tmp")

        monkeypatch.setattr("imagekit.base.atomic.write_file", refuse)

        result = invoke("build", "--check", "--fix", str(context))

        assert result.exit_code == 3
        assert (
            result.stderr
            == f"imagekit: error: cannot correct {context / 'Dockerfile'}: Permission denied\n"
        )


class TestExplain:
    def test_needs_no_path(self, invoke: Invoke, engine: FakeEngine) -> None:
        result = invoke("build", "--check", "--explain", "UndefinedVar")

        assert result.exit_code == 0
        assert result.stdout.startswith("UndefinedVar\n")
        assert engine.calls == []

    def test_an_unknown_rule(self, invoke: Invoke) -> None:
        result = invoke("build", "--check", "--explain", "UndefindVar")

        assert result.exit_code != 0
        assert 'unknown rule "UndefindVar" (did you mean UndefinedVar?)' in result.stderr


@pytest.mark.parametrize(
    "arguments", [("--fix", "."), ("--explain", "UndefinedVar"), ("--format", "json", ".")]
)
def test_options_of_the_checks_alone_are_refused(
    invoke: Invoke, engine: FakeEngine, arguments: tuple[str, ...]
) -> None:
    result = invoke("build", *arguments)

    assert result.exit_code == 2
    assert "--format, --fix and --explain belong to --check" in result.stderr
    assert engine.calls == []


def test_a_build_without_a_path_is_refused(invoke: Invoke) -> None:
    result = invoke("build")

    assert result.exit_code == 2
    assert "issing argument 'PATH'" in result.stderr


def test_warnings_after_a_build(engine: FakeEngine, context: Path) -> None:
    request = BuildRequest(context=context)

    assert warning_lines(engine, request) == (
        "1 warning found (`imagekit build --check` shows the lines):",
        " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
    )
    assert engine.calls[-1][2] == {"only_needed": True, "fetch": False}
    (context / "Dockerfile").write_text("FROM scratch\n")
    assert warning_lines(engine, request) == ()


def test_whatever_else_is_wrong_is_told_too(invoke: Invoke, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPPY a b\nENV\n")

    result: Result = invoke("build", "--check", str(context))

    assert result.exit_code == 1
    assert "unknown instruction: COPPY" in result.stdout
    assert "ENV requires at least one argument" not in result.stdout
    assert "ENV requires at least one argument" in result.stderr
