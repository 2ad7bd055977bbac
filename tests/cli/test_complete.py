from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from imagekit.base.errors import HostError
from imagekit.cli.app import cli
from imagekit.cli.session import EngineFactory, Launch

FakeEngine = Any


def items(engine: FakeEngine, *words: str) -> list[CompletionItem]:
    launch = Launch(environ={}, make_engine=cast("EngineFactory", lambda *_: engine))
    shell = ShellComplete(cli, {"obj": launch}, "imagekit", "_X")
    return shell.get_completions(list(words[:-1]), words[-1])


def completions(engine: FakeEngine, *words: str) -> list[str]:
    return [item.value for item in items(engine, *words)]


@pytest.fixture(autouse=True)
def answers(engine: FakeEngine) -> None:
    engine.answers["images"] = (
        SimpleNamespace(name="docker.io/library/app:1.0"),
        SimpleNamespace(name="localhost:5000/app:1.0"),
    )
    engine.answers["containers.list"] = (SimpleNamespace(name="web"), SimpleNamespace(name="db"))


def test_commands(engine: FakeEngine) -> None:
    assert completions(engine, "st") == ["stop"]


def test_options(engine: FakeEngine) -> None:
    assert "--build-arg" in completions(engine, "build", "--bu")


def test_images(engine: FakeEngine) -> None:
    assert completions(engine, "push", "a") == ["app:1.0"]
    assert completions(engine, "rmi", "app:1.0", "") == ["app:1.0", "localhost:5000/app:1.0"]


def test_containers(engine: FakeEngine) -> None:
    assert completions(engine, "stop", "") == ["web", "db"]
    assert "web" in completions(engine, "inspect", "w")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("build", ""), "dir"),
        (("build", "-f", "D"), "file"),
        (("dockerfile", "parse", "D"), "file"),
        (("load", "-i", ""), "file"),
    ],
)
def test_paths_are_left_to_the_shell(engine: FakeEngine, words: tuple[str, ...], kind: str) -> None:
    assert [item.type for item in items(engine, *words)] == [kind]


def test_rules(engine: FakeEngine) -> None:
    assert completions(engine, "build", "--check", "--explain", "undef") == [
        "UndefinedArgInFrom",
        "UndefinedVar",
    ]


def test_a_store_that_cannot_be_opened_completes_nothing(engine: FakeEngine) -> None:
    engine.answers["images"] = HostError("no")
    engine.answers["containers.list"] = HostError("no")

    assert completions(engine, "inspect", "") == []
