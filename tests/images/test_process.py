"""What docker's rules make of an image and the user's flags."""

import pytest

from imagekit.images.process import NoCommandError, merged_environment, process_spec
from imagekit.oci.image_config import DEFAULT_PATH, ContainerConfig

BOTH = ContainerConfig(entrypoint=("entry", "-e"), cmd=("cmd", "-c"))


@pytest.mark.parametrize(
    ("config", "command", "entrypoint", "argv"),
    [
        (BOTH, (), None, ("entry", "-e", "cmd", "-c")),
        (BOTH, ("mine",), None, ("entry", "-e", "mine")),
        (BOTH, (), ("other",), ("other",)),
        (BOTH, ("mine",), ("other",), ("other", "mine")),
        (BOTH, ("mine",), (), ("mine",)),
        (ContainerConfig(cmd=("cmd",)), (), None, ("cmd",)),
        (ContainerConfig(cmd=("cmd",)), ("mine", "x"), None, ("mine", "x")),
        (ContainerConfig(entrypoint=("entry",)), (), None, ("entry",)),
        (ContainerConfig(), ("mine",), None, ("mine",)),
    ],
)
def test_entrypoint_and_command(
    config: ContainerConfig,
    command: tuple[str, ...],
    entrypoint: tuple[str, ...] | None,
    argv: tuple[str, ...],
) -> None:
    assert process_spec(config, command=command, entrypoint=entrypoint).argv == argv


@pytest.mark.parametrize(
    ("config", "entrypoint"),
    [(ContainerConfig(), None), (BOTH, ()), (ContainerConfig(cmd=()), None)],
)
def test_nothing_to_run(config: ContainerConfig, entrypoint: tuple[str, ...] | None) -> None:
    with pytest.raises(NoCommandError, match="has no command") as caught:
        process_spec(config, entrypoint=entrypoint)

    assert caught.value.hint is not None


def test_the_environment_is_image_then_user() -> None:
    config = ContainerConfig(cmd=("x",), env=("A=image", "B=image", "EMPTY="))

    spec = process_spec(config, env=("B=user", "C=a=b"))

    assert spec.env == (f"PATH={DEFAULT_PATH}", "A=image", "B=user", "EMPTY=", "C=a=b")


def test_the_path_of_the_image_wins_over_the_default() -> None:
    spec = process_spec(ContainerConfig(cmd=("x",), env=("PATH=/bin",)))

    assert spec.env == ("PATH=/bin",)


def test_a_terminal_has_a_type() -> None:
    assert "TERM=xterm" in process_spec(ContainerConfig(cmd=("x",)), tty=True).env
    assert (
        "TERM=vt100" in process_spec(ContainerConfig(cmd=("x",)), tty=True, env=("TERM=vt100",)).env
    )


def test_user_and_directory() -> None:
    config = ContainerConfig(cmd=("x",), user="app", working_dir="/srv")

    assert (process_spec(config).user, process_spec(config).cwd) == ("app", "/srv")
    changed = process_spec(config, user="0", workdir="/tmp")
    assert (changed.user, changed.cwd) == ("0", "/tmp")
    assert process_spec(ContainerConfig(cmd=("x",))).cwd == "/"


def test_each_key_is_there_once() -> None:
    assert merged_environment(("A=1", "A=2"), ("A=3", "B=1", "B=2")) == ("A=3", "B=2")
