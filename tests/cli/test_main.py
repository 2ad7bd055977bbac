import signal
from pathlib import Path
from typing import Any

import pytest

from imagekit.base.errors import (
    CorruptionError,
    HostError,
    ImagekitError,
    RemoteError,
    UserError,
)
from imagekit.cli.app import cli
from imagekit.cli.click_commands import keep_examples
from imagekit.cli.commands import COMMANDS
from imagekit.config import Color

FakeEngine = Any
Invoke = Any


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImagekitError("it failed"), 1),
        (UserError("it failed"), 2),
        (HostError("it failed"), 3),
        (RemoteError("it failed"), 4),
        (CorruptionError("it failed"), 5),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    invoke: Invoke, engine: FakeEngine, error: ImagekitError, code: int
) -> None:
    engine.answers["images"] = error

    result = invoke("images")

    assert result.exit_code == code
    assert result.stderr == "imagekit: error: it failed\n"
    assert result.stdout == ""
    assert engine.closed


def test_a_hint_follows_the_error(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = UserError("no image", hint="Pull it.")

    assert invoke("images").stderr.endswith("no image\nhint: Pull it.\n")


def test_escapes_in_an_error_do_not_reach_the_terminal(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = RemoteError("bad\x1b[2J name")

    assert "\x1b" not in invoke("images").stderr


def test_a_bug_is_one_line_with_what_to_do(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = KeyError("x")

    result = invoke("images")

    assert result.exit_code == 70
    assert result.stderr.startswith("imagekit: internal error: KeyError: 'x'\nhint: ")
    assert "Traceback" not in result.stderr


def test_debug_adds_the_traceback(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = KeyError("x")

    assert "Traceback" in invoke("--debug", "images").stderr
    assert "Traceback" in invoke("--root", "/r", "--debug", "images").stderr
    assert "Traceback" in invoke("images", environ={"IMAGEKIT_DEBUG": "1"}).stderr
    assert "Traceback" not in invoke("images", environ={"IMAGEKIT_DEBUG": "0"}).stderr


def test_a_full_disk_is_told_with_a_hint(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = OSError(28, "No space left on device", "/var/x")

    result = invoke("images")

    assert result.exit_code == 3
    assert result.stderr.startswith("imagekit: error: no space left on device: /var/x\nhint: Free")


def test_interrupting_exits_with_130(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = KeyboardInterrupt()

    result = invoke("images")

    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_an_unknown_command_names_the_nearest(invoke: Invoke) -> None:
    result = invoke("biuld")

    assert result.exit_code == 2
    assert "no such command 'biuld' (did you mean build?)" in result.stderr


def test_a_wrong_option_says_where_help_is(invoke: Invoke) -> None:
    result = invoke("images", "--frobnicate")

    assert result.exit_code == 2
    assert result.stderr.startswith("imagekit: error: no such option")
    assert "hint: Run `imagekit images --help`." in result.stderr


def test_flags_reach_the_settings(invoke: Invoke, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers["images"] = ()

    result = invoke("--root", str(tmp_path / "r"), "--color", "never", "images")

    assert result.exit_code == 0
    assert engine.settings.root == tmp_path / "r"
    assert engine.settings.color is Color.NEVER


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_has_help_with_an_example(invoke: Invoke, entry: Any) -> None:
    result = invoke(entry.name, "-h")

    assert result.exit_code == 0, result.stderr
    assert f"imagekit {entry.name}" in result.stdout
    assert "Example:\n" in result.stdout


@pytest.mark.parametrize(
    "words", [("registry", "serve"), ("system", "df"), ("system", "prune"), ("system", "info")]
)
def test_subcommands_too(invoke: Invoke, words: tuple[str, str]) -> None:
    result = invoke(*words, "-h")

    assert result.exit_code == 0
    assert "Example:\n" in result.stdout


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_table_of_commands_says_what_the_command_says(entry: Any) -> None:
    command = cli.get_command(None, entry.name)  # type: ignore[arg-type]

    assert command is not None
    assert command.short_help == entry.summary


def test_the_help_lists_every_command_and_the_exit_codes(invoke: Invoke) -> None:
    text = invoke("-h").stdout

    assert all(f"  {entry.name}" in text for entry in COMMANDS)
    assert "Exit codes:" in text


def test_examples_keep_their_lines() -> None:
    assert keep_examples("Do it.\n\n    Example:\n      a\n") == "Do it.\n\n\b\nExample:\n  a"
    assert keep_examples(None) is None


def test_version(invoke: Invoke) -> None:
    assert invoke("version").stdout.startswith("imagekit ")
    assert invoke("--version").stdout == invoke("version").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_back(invoke: Invoke, shell: str) -> None:
    assert "_IMAGEKIT_COMPLETE" in invoke("completion", shell).stdout


def test_settings_show_their_origin(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke(
        "--root", str(tmp_path), "system", "info", environ={"IMAGEKIT_PROGRESS": "plain"}
    )

    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines["root"].endswith("--root")
    assert lines["progress"].endswith("environment variable IMAGEKIT_PROGRESS")
    assert lines["color"].endswith("default")


def test_sigterm_leaves_through_context_managers() -> None:
    from imagekit.cli.main import end

    with pytest.raises(SystemExit) as caught:
        end(signal.SIGTERM, None)

    assert caught.value.code == 143
