"""RUN: forms, environment, users, failure, mounts."""

from typing import TYPE_CHECKING

import pytest

from imagekit.base.errors import ImagekitError
from imagekit.build.errors import BuildError, StepFailedError
from imagekit.build.request import Secret
from imagekit.store.locks import Locks

if TYPE_CHECKING:
    from tests.build.conftest import World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
SECRET = Secret(id="token", value=b"top-secret-value")


def run(world: "World", *lines: str, **options: object) -> str:
    """Build without the cache, return the output of the steps."""
    world.build("\n".join((f"FROM {IMAGE}", *lines, "")), no_cache=True, **options)
    return world.output


class TestForms:
    def test_shell_exec_and_documents(self, world: "World") -> None:
        output = run(
            world,
            "ENV v=value",
            "RUN echo shell $v",
            'RUN ["echo", "exec $v"]',
            "RUN <<EOF\necho document $v\necho second\nEOF",
            "RUN <<'EOF'\necho quoted $v\nEOF",
            "RUN <<EOF\n#!/bin/cat\nscript $v\nEOF",
            "RUN cat <<one <<two\nfirst $v\none\nsecond\ntwo",
            "RUN echo a \\\n  # comment\n  b",
        )

        for line in ("shell value", "exec $v", "document value", "second", "quoted value",
                     "script $v", "a b"):  # fmt: skip
            assert f"{line}\n" in output

    def test_script_leaves_nothing_in_the_layer(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nRUN <<EOF\n#!/bin/sh\necho $0 > /where\nEOF\n")

        found = world.last(result.image)
        assert found.keys() == {"where"}
        assert found["where"].text == "/dev/pipes/EOF\n"

    def test_shell_instruction(self, world: "World") -> None:
        assert "e" in run(world, 'SHELL ["/bin/sh", "-ec"]', "RUN echo $-")

    def test_entrypoint_is_not_used(self, world: "World") -> None:
        assert run(world, 'ENTRYPOINT ["/bin/false"]', "RUN echo yes") == "yes\n"

    def test_changes_nothing_makes_an_empty_layer(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nRUN true\n")

        assert world.last(result.image) == {}
        assert len(result.image.config.diff_ids) == 2


class TestSurroundings:
    def test_directory_user_and_name(self, world: "World") -> None:
        output = run(
            world,
            "WORKDIR /w",
            "USER app",
            "RUN pwd; id -u; id -g; id -G; hostname; echo home=$HOME; cat; ls -ld .",
        )

        assert output.startswith("/w\n1000\n1001\n1001 50\nbuildkitsandbox\nhome=/home/app\n")

    @pytest.mark.parametrize(
        ("user", "ids"),
        [("4000", "4000 0 0"), ("1000", "1000 1001 1001 50"), ("app:wheel", "1000 50 50"),
         ("5:6", "5 6 6"), ("root", "0 0 0")],
    )  # fmt: skip
    def test_ids(self, world: "World", user: str, ids: str) -> None:
        assert run(world, f"USER {user}", "RUN echo $(id -u) $(id -g) $(id -G)") == f"{ids}\n"

    def test_unknown_user_is_an_error_at_its_line(self, world: "World") -> None:
        with pytest.raises(BuildError, match="nobody-there") as caught:
            run(world, "USER nobody-there", "RUN true")
        assert caught.value.span is not None
        assert caught.value.span.first_line == 3

    def test_missing_directory_of_the_base_is_made(self, world: "World") -> None:
        world.engine.import_image(world.context, "with-missing:1", changes=("WORKDIR /not/there",))
        result = world.build(
            f"FROM {IMAGE} AS b\nFROM with-missing:1\nCOPY --from=b / /\n"
            'RUN ["/bin/pwd"]\n', no_cache=True,
        )  # fmt: skip

        assert world.output == "/not/there\n"
        assert result.image.config.config.working_dir == "/not/there"

    def test_variables(self, world: "World") -> None:
        output = run(world, "ARG a=1", "ENV b=2", "RUN env", build_args={"NO_PROXY": "x"})

        lines = set(output.splitlines())
        assert {"a=1", "b=2", "PATH=/bin", "NO_PROXY=x", "no_proxy=x", "HOME=/root"} <= lines

    def test_network_none(self, world: "World") -> None:
        assert run(world, "RUN --network=none ls /sys/class/net || true; ip -o link | wc -l") in (
            "lo\n1\n",
            "1\n",
        )
        assert "lo" in run(world, "RUN ip -o link", network="none")

    def test_hosts_and_resolver_leave_no_trace(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE}\nRUN cat /etc/hosts && test -e /etc/resolv.conf && echo x > /made\n",
            add_hosts=("myhost:10.1.2.3",),
        )

        assert "10.1.2.3\tmyhost" in world.output.replace(" ", "\t")
        assert world.last(result.image).keys() == {"made"}

    def test_extra_host_name_is_in_the_key_and_its_address_is_not(self, world: "World") -> None:
        text = f"FROM {IMAGE}\nRUN echo hosts\n"
        world.build(text, add_hosts=("a:10.1.2.3",))

        world.build(text, add_hosts=("a:10.1.2.4",))
        assert world.outcomes == ["cached"]
        world.build(text, add_hosts=("b:10.1.2.3",))
        assert world.outcomes == ["done"]


class TestFailure:
    def test_error_says_what_where_and_shows_the_end(self, world: "World") -> None:
        with pytest.raises(StepFailedError) as caught:
            run(world, "LABEL a=b", "RUN echo to-out; echo to-err >&2; exit 7")

        error = caught.value
        assert error.process_exit_code == 7
        assert error.exit_code == 1
        assert "did not complete successfully: exit code: 7" in error.message
        assert error.output == b"to-out\nto-err\n"
        assert error.span is not None
        assert error.span.first_line == 3

    def test_only_the_end_of_long_output_is_kept(self, world: "World") -> None:
        with pytest.raises(StepFailedError) as caught:
            run(world, "RUN seq 100000; false")
        assert len(caught.value.output) <= 8192
        assert caught.value.output.endswith(b"99999\n100000\n")

    def test_missing_program(self, world: "World") -> None:
        with pytest.raises(StepFailedError, match="/no/such") as caught:
            run(world, 'RUN ["/no/such"]')
        assert caught.value.process_exit_code == 127
        assert caught.value.span is not None
        with pytest.raises(StepFailedError) as caught:
            run(world, 'RUN ["/data/seed"]')
        assert caught.value.process_exit_code == 126

    def test_steps_before_it_are_kept(self, fresh: "World") -> None:
        lines = "".join(f"RUN echo {n}\n" for n in range(5))
        with pytest.raises(StepFailedError):
            fresh.build(f"FROM {IMAGE}\n{lines}RUN false\n")

        fresh.build(f"FROM {IMAGE}\n{lines}RUN true\n")

        assert fresh.outcomes == ["cached"] * 5 + ["done"]

    def test_first_failure_is_told_and_the_others_are_stopped(self, fresh: "World") -> None:
        with pytest.raises(StepFailedError) as caught:
            fresh.build(
                f"FROM {IMAGE} AS slow\nRUN sleep 60\n"
                f"FROM {IMAGE} AS bad\nRUN echo cancelled; sleep 0.1; exit 9\n"
                "FROM scratch\nCOPY --from=slow / /a\nCOPY --from=bad / /b\n"
            )
        assert caught.value.process_exit_code == 9

    def test_out_of_memory(self, world: "World") -> None:
        with pytest.raises(StepFailedError) as caught:
            run(
                world,
                "RUN x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}",
                memory_bytes=20 << 20,
            )
        assert "memory" in (caught.value.hint or "")


class TestBindMounts:
    def test_context_is_readable_and_not_writable(self, world: "World") -> None:
        world.write("d/f", "text")

        output = run(
            world,
            "RUN --mount=target=/src cat /src/d/f; echo x > /src/new || echo refused",
            "RUN --mount=type=bind,source=d,target=rel cat rel/f",
            "RUN --mount=type=bind,source=d/f,target=/file cat /file",
        )

        assert output.count("text") == 3
        assert "refused\n" in output
        assert not (world.context / "new").exists()

    def test_writes_are_discarded(self, world: "World") -> None:
        world.write("d/f", "text")

        result = world.build(
            f"FROM {IMAGE}\nRUN --mount=source=d,target=/src,rw echo x > /src/f && cat /src/f\n"
        )

        assert world.output == "x\n"
        assert (world.context / "d/f").read_text() == "text"
        assert world.last(result.image) == {}

    def test_stage_and_image(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS one\nRUN echo made > /f\nFROM {IMAGE}\n"
            "RUN --mount=from=one,target=/a --mount=from=busybox:test,source=/data,target=/b"
            " cat /a/f /b/seed > /both; echo y > /a/f || true\n"
        )

        found = world.last(result.image)
        assert found.keys() == {"both"}
        assert found["both"].text == "made\nfrom the image\n"

    def test_ignored_files_are_not_there(self, world: "World") -> None:
        world.write("f")
        world.write("secret")
        world.write(".dockerignore", "secret")

        assert run(world, "RUN --mount=target=/src ls /src") == "f\n"

    def test_content_of_each_mount_counts(self, world: "World") -> None:
        text = (
            f"FROM {IMAGE} AS a\nARG a\nRUN echo $a > /f\nFROM {IMAGE} AS b\nARG b\n"
            f"RUN echo $b > /f\nFROM {IMAGE}\n"
            "RUN --mount=from=a,source=f,target=/a --mount=from=b,source=f,target=/b cat /a /b\n"
        )
        world.build(text, build_args={"a": "1", "b": "2"})

        world.build(text, build_args={"a": "3", "b": "2"})

        assert world.output == "3\n2\n"

    def test_waiting_stages_do_not_block_each_other(self, fresh: "World") -> None:
        result = fresh.build(
            f"FROM {IMAGE} AS a\nRUN sleep 0.1; echo 1 > /f\nRUN echo 2 >> /f\n"
            f"FROM {IMAGE}\nRUN --mount=from=a,target=/a cat /a/f > /g\n"
        )

        assert fresh.last(result.image)["g"].text == "1\n2\n"

    def test_later_stage_is_refused(self, world: "World") -> None:
        with pytest.raises(ImagekitError, match="needs to be defined before"):
            world.build(
                f"FROM {IMAGE} AS a\nRUN --mount=from=b,target=/b true\nFROM {IMAGE} AS b\n",
                target="a",
            )


class TestCacheMounts:
    def test_content_persists_and_stays_out(self, fresh: "World") -> None:
        line = "RUN --mount=type=cache,target=/c echo x >> /c/log; wc -l < /c/log"
        result = fresh.build(f"FROM {IMAGE}\n{line}\n")
        assert fresh.output == "1\n"
        assert fresh.last(result.image) == {}

        fresh.build(f"FROM {IMAGE}\n{line} # again\n")
        assert fresh.output == "2\n"
        fresh.build(f"FROM {IMAGE}\nRUN --mount=type=cache,id=other,target=/c ls /c\n")
        assert fresh.output == ""

    def test_mode_and_owner_are_for_a_new_one(self, fresh: "World") -> None:
        line = "RUN --mount=type=cache,target=/c,mode=0700,uid=5,gid=6 stat -c '%a %u %g' /c"
        fresh.build(f"FROM {IMAGE}\n{line}\n")
        assert fresh.output == "700 5 6\n"

    def test_seed(self, fresh: "World") -> None:
        line = "RUN --mount=type=cache,target=/c,from=busybox:test,source=/data"
        fresh.build(f"FROM {IMAGE}\n{line} cat /c/seed; echo more > /c/more\n")
        assert fresh.output == "from the image\n"

        fresh.build(f"FROM {IMAGE}\n{line} cat /c/seed /c/more\n")
        assert fresh.output == "from the image\nmore\n"

    def test_without_cache_it_starts_empty_once(self, fresh: "World") -> None:
        lines = "".join(
            f"RUN --mount=type=cache,target=/c echo {n} >> /c/log; cat /c/log\n" for n in (1, 2)
        )
        fresh.build(f"FROM {IMAGE}\n{lines}")

        fresh.build(f"FROM {IMAGE}\n{lines}", no_cache=True)

        assert fresh.output == "1\n1\n2\n"

    def test_the_same_locked_cache_twice_does_not_hang(self, world: "World") -> None:
        output = run(
            world,
            "RUN --mount=type=cache,id=x,target=/a,sharing=locked"
            " --mount=type=cache,id=x,target=/b,sharing=locked touch /a/f && ls /b",
        )
        assert output == "f\n"

    def test_locked_ones_in_another_order_do_not_hang(self, fresh: "World") -> None:
        def mounts(*names: str) -> str:
            return " ".join(f"--mount=type=cache,target=/{name},sharing=locked" for name in names)

        result = fresh.build(
            f"FROM {IMAGE} AS a\nRUN {mounts('x', 'y')} sleep 0.1\n"
            f"FROM {IMAGE} AS b\nRUN {mounts('y', 'x')} sleep 0.2\n"
            "FROM scratch\nCOPY --from=a /data /a\nCOPY --from=b /data /b\n"
        )
        assert result.steps == 4

    def test_locked_waits_for_the_holder(self, fresh: "World") -> None:
        locks: Locks = fresh.store.locks
        with locks.exclusive("another name"):
            output = run(fresh, "RUN --mount=type=cache,target=/c,sharing=locked echo ran")
        assert output == "ran\n"


class TestOtherMounts:
    def test_tmpfs(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE}\nRUN --mount=type=tmpfs,target=/t,size=1m"
            " head -c 2000000 /dev/zero > /t/f || grep ' /t tmpfs' /proc/mounts\n"
        )

        assert "tmpfs" in world.output
        assert world.last(result.image) == {}

    def test_secret_file(self, world: "World") -> None:
        output = run(
            world,
            "USER app",
            "RUN --mount=type=secret,id=token,uid=1000 cat /run/secrets/token;"
            " stat -c ' %a %u' /run/secrets/token",
            "RUN --mount=type=secret,id=token,target=/x,mode=0444 cat /x",
            secrets=(SECRET,),
        )

        assert output == "top-secret-value 400 1000\ntop-secret-value"

    def test_secret_variable(self, world: "World") -> None:
        output = run(
            world,
            "RUN --mount=type=secret,id=token,env=T echo $T; ls /run/secrets 2>&1 || true",
            secrets=(SECRET,),
        )

        assert output.startswith("top-secret-value\n")
        assert "token" not in output

    def test_secret_is_nowhere(self, fresh: "World") -> None:
        text = (
            f"FROM {IMAGE}\nRUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null\n"
            "RUN --mount=type=secret,id=token,env=T true\n"
        )
        result = fresh.build(text, secrets=(SECRET,))

        assert fresh.files(result.image, layers=2) == {}
        for path in fresh.store.paths.root.rglob("*"):
            if path.is_file():
                assert SECRET.value not in path.read_bytes(), path
        fresh.build(text, secrets=(Secret(id="token", value=b"changed"),))
        assert fresh.outcomes == ["cached", "cached"]
        assert "top-secret" not in repr(SECRET)

    def test_missing_secret(self, world: "World") -> None:
        assert run(world, "RUN --mount=type=secret,id=none,env=T echo T=$T.") == "T=.\n"
        with pytest.raises(BuildError, match="secret none: not found"):
            run(world, "RUN --mount=type=secret,id=none,required true")

    def test_ssh_is_refused_clearly(self, world: "World") -> None:
        with pytest.raises(BuildError, match="ssh is not supported"):
            run(world, "RUN --mount=type=ssh true")

    def test_mount_points_leave_no_trace(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE}\nRUN --mount=type=tmpfs,target=/deep/mount/point"
            " --mount=type=cache,target=/data/cache echo x > /made\n"
        )

        assert world.last(result.image).keys() == {"made"}
