"""ENV, ARG and the predefined arguments: the order decides."""

from imagekit.build.environment import StageEnvironment, platform_arguments, proxy_arguments
from imagekit.oci.platform import Platform


def environment(*env: str) -> StageEnvironment:
    return StageEnvironment.from_image(env, escape="\\")


def declare(
    target: StageEnvironment,
    name: str,
    default: str | None = None,
    build_args: dict[str, str] | None = None,
    global_args: dict[str, str | None] | None = None,
) -> str | None:
    return target.declare(name, default, build_args=build_args or {}, global_args=global_args or {})


def test_path_is_there_and_last() -> None:
    assert environment("A=1").image_env()[0] == "A=1"
    assert environment("A=1").image_env()[1].startswith("PATH=/usr/local/sbin:")
    assert environment("PATH=/x").image_env() == ("PATH=/x",)


def test_value_may_hold_equal_signs() -> None:
    assert environment("A=b=c").build["A"] == "b=c"


def test_sources_of_an_argument_in_order() -> None:
    target = environment()
    assert declare(target, "a", "d", {"a": "given"}, {"a": "global"}) == "given"
    assert declare(target, "a", "d", {}, {"a": "global"}) == "d"
    assert declare(target, "a", None, {}, {"a": "global"}) == "global"
    assert declare(target, "b") is None
    assert "b" not in target.build
    assert declare(target, "c", "") == ""
    assert target.build["c"] == ""


def test_argument_without_value_keeps_the_env_of_its_name() -> None:
    target = environment("A=env")
    declare(target, "A")
    assert target.build["A"] == "env"


def test_history_prefix() -> None:
    target = environment()
    assert target.run_prefix() == ""
    declare(target, "b", "1")
    declare(target, "a")
    declare(target, "b", "2")
    assert target.run_prefix() == "|2 b=2 a= "
    target.set_env((("a", "env"),))
    assert target.run_prefix() == "|2 b=2 a=env "


def test_children_do_not_change_their_parent() -> None:
    target = environment()
    declare(target, "a", "1")
    child = target.child()
    child.set_env((("a", "2"),))
    declare(child, "b", "3")
    assert (target.build["a"], target.arguments) == ("1", {"a": "1"})
    assert child.arguments == {"a": "1", "b": "3"}


def test_proxies_have_both_spellings_and_the_lower_one_wins() -> None:
    assert proxy_arguments({"HTTP_PROXY": "U", "http_proxy": "l", "other": "x"}) == {
        "HTTP_PROXY": "l",
        "http_proxy": "l",
    }


def test_platform_arguments() -> None:
    values = platform_arguments(
        Platform.parse("linux/amd64"), Platform.parse("linux/arm/v7"), "stage"
    )
    assert values["BUILDARCH"] == "amd64"
    assert (values["TARGETARCH"], values["TARGETVARIANT"]) == ("arm", "v7")
    assert (values["TARGETPLATFORM"], values["TARGETSTAGE"]) == ("linux/arm/v7", "stage")
