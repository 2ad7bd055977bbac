"""The direct parser: what it takes, click takes in the same way."""

import importlib
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.cli import direct, root
from imagekit.cli.click_commands import click_command, click_parameter
from imagekit.cli.commands import COMMANDS
from imagekit.cli.commands.build import command as build
from imagekit.cli.commands.commit import command as commit
from imagekit.cli.commands.exec import command as exec_
from imagekit.cli.commands.run import command as run
from imagekit.cli.declare import Command, Group, Option


def declared_commands() -> list[Command]:
    found: list[Command] = []
    for entry in COMMANDS:
        command = importlib.import_module(entry.module).command
        if isinstance(command, Group):
            found.extend(command.commands.values())
        elif isinstance(command, Command):
            found.append(command)
    return found


DECLARED = declared_commands()
VALUES = (
    *("x", "", "-", "--", "-x", "1", "65", "1.5", "512m", "10s", "a=b", "a", "=", "x=y,z", "/abs"),
    *("80:80", "8000-8001:80-81", "host:10.0.0.1", "type=tmpfs,target=/t", "gzip", "none", "json"),
    *("image", "container", "--rm", "--help", "-h", "--version", "ä", "\udcff"),
)


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[Command, list[str]]:
    """A command and words that are often right for it, and sometimes not."""
    command = draw(st.sampled_from(DECLARED))
    options = [one for one in command.parameters if isinstance(one, Option)]
    words: list[str] = []
    value = st.sampled_from(VALUES)
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 9)) if options else 9
        if kind == 9:
            words.append(draw(value))
            continue
        option = draw(st.sampled_from(options))
        spelling = draw(st.sampled_from((*option.spellings, *option.off)))
        if option.is_flag and kind < 7:
            words.append(spelling)
        elif kind < 4:
            words += [spelling, draw(value)]
        elif kind < 6:
            words.append(f"{spelling}={draw(value)}")
        elif kind < 8:
            words.append(f"{spelling}{draw(value)}")
        else:
            words.append(spelling[: draw(st.integers(1, len(spelling)))])
    return command, words


def read_by_click(command: Command, words: list[str]) -> dict[str, Any]:
    return click_command(command).make_context(command.name, list(words)).params


@settings(max_examples=1500, deadline=None)
@given(line=command_lines())
def test_what_is_read_directly_is_what_click_reads(line: tuple[Command, list[str]]) -> None:
    command, words = line
    try:
        values = direct.read(command, words)
    except direct.GiveUp:
        return
    assert values == read_by_click(command, words)


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(
            ["--root", "/r", "--root=/r", "--debug", "--progress", "plain", "--progress=tty",
             "--color", "never", "--config", "/c", "build", "-h", "--version", "--", "x"]
        ),
        max_size=6,
    )
)  # fmt: skip
def test_the_options_before_the_command_are_read_as_click_reads_them(words: list[str]) -> None:
    try:
        own, rest = direct.read_options(root.PARAMETERS, words, interspersed=False, is_group=True)
    except direct.GiveUp:
        return
    group = click.Group("imagekit", params=[click_parameter(one) for one in root.PARAMETERS])
    if not rest:  # click shows the help then, which has its own way out
        return
    context = group.make_context("imagekit", list(words))
    assert own == context.params
    assert rest == [*context._protected_args, *context.args]


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        (run, ["--rm", "-it", "-e", "A=b", "-eC", "img", "sh", "-c", "x"],
         {"rm": True, "interactive": True, "tty": True, "env": ("A=b", "C"), "image": "img",
          "arguments": ("sh", "-c", "x"), "network": "bridge"}),
        (run, ["--memory=1g", "img", "--rm"], {"memory": 1 << 30, "arguments": ("--rm",)}),
        (exec_, ["-t", "web", "sh"], {"tty": True, "container": "web", "arguments": ("sh",)}),
        (build, [".", "-t", "a", "--tag=b", "--no-cache"],
         {"context": ".", "tags": ("a", "b"), "no_cache": True}),
        (commit, ["--no-pause", "web", "app:1"], {"pause": False, "name": "app:1"}),
    ],
)  # fmt: skip
def test_usual_command_lines_need_no_click(
    command: Command, words: list[str], expected: dict[str, object]
) -> None:
    assert direct.read(command, words).items() >= expected.items()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (run, []),
        (run, ["-h"]),
        (run, ["--help"]),
        (run, ["--nonsense", "img"]),
        (run, ["--rm=yes", "img"]),
        (run, ["--memory", "much", "img"]),
        (run, ["--network", "moon", "img"]),
        (run, ["-e"]),
        (build, [".", "more"]),
        (build, ["--ta", "x", "."]),
        (exec_, ["web"]),
    ],
)
def test_what_is_wrong_is_left_to_click(command: Command, words: list[str]) -> None:
    with pytest.raises(direct.GiveUp):
        direct.read(command, words)
