"""Bad input, through the real program: one clear message, the place, no traceback."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.build.errors import BuildError, BuildHostError, located
from imagekit.dockerfile.errors import Span
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from tests.build.conftest import Cli, World

IMAGE = "busybox:test"
SPAN = Span(file_name="Dockerfile", first_line=1, last_line=1)

CASES = [
    pytest.param(
        f"FROM {IMAGE}\nRUN echo fine; echo last words >&2; exit 3\n",
        1,
        ["   2 | >>> RUN", "last words\n", "exit code: 3", "hint: "],
        id="failing-step",
    ),
    pytest.param(
        "FROM 127.0.0.1:9/none:1\n",
        4,
        ["   1 | >>> FROM", "127.0.0.1:9/none:1: ", "hint: "],
        id="missing-base",
    ),
    pytest.param(
        f"FROM {IMAGE} AS tools\nFROM 127.0.0.1:9/x AS y\nCOPY --from=tols / /\n",
        4,
        ["error: "],
        id="mistyped-stage",
    ),
    pytest.param(
        f"FROM {IMAGE}\nCOPY no-such-file /x\n",
        2,
        ["   2 | >>> COPY", '"no-such-file" does not exist in the build context', "hint: "],
        id="missing-source",
    ),
    pytest.param(
        f"FROM {IMAGE}\nCOPY hidden /x\n",
        2,
        ["   2 | >>> COPY", '"hidden" is excluded by .dockerignore', "hint: Add a line !hidden"],
        id="excluded-source",
    ),
    pytest.param(
        f"FROM {IMAGE}\nCOPPY a b\n",
        2,
        ["   2 | >>> COPPY", "     |     ^", "unknown instruction: COPPY (did you mean COPY?)"],
        id="unknown-instruction",
    ),
    pytest.param(
        f"FROM {IMAGE}\nRUN --mont=x true\n",
        2,
        ["   2 | >>> RUN", "     |         ^", "(did you mean mount?)"],
        id="unknown-flag",
    ),
    pytest.param(
        f"FROM {IMAGE} AS a\nCOPY --from=b / /\nFROM {IMAGE} AS b\nCOPY --from=a / /\n",
        2,
        [" | >>> COPY", "circular dependency detected on stage"],
        id="circle",
    ),
    pytest.param("", 2, ["the Dockerfile cannot be empty"], id="empty"),
    pytest.param(
        f'FROM {IMAGE}\nRUN ["/no/such"]\n', 1, [" | >>> RUN", "/no/such"], id="no-program"
    ),
    pytest.param(f"FROM {IMAGE}\nUSER who\nRUN true\n", 2, [" | >>> RUN", "'who'"], id="no-user"),
]


@pytest.mark.root
class TestProgram:
    @pytest.mark.parametrize(("text", "code", "expected"), CASES)
    def test_message_place_and_exit_code(
        self, world: "World", cli: "Cli", text: str, code: int, expected: list[str]
    ) -> None:
        world.write("Dockerfile", text)
        world.write("hidden")
        world.write(".dockerignore", "hidden")

        done = cli("--root", world.store.paths.root, "build", "--no-cache", world.context)

        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        for text in expected:
            assert text in done.stderr
        assert done.stderr.count("imagekit: error: ") == 1
        assert world.store.gc.verify() == []

    def test_no_dockerfile_and_no_context(self, world: "World", cli: "Cli") -> None:
        root = world.store.paths.root

        done = cli("--root", root, "build", world.context)
        assert (done.returncode, "cannot find the Dockerfile" in done.stderr) == (2, True)
        done = cli("--root", root, "build", world.context / "none")
        assert (done.returncode, "does not exist" in done.stderr) == (2, True)

    def test_wrong_tag_is_told_before_anything_is_built(self, world: "World") -> None:
        with pytest.raises(Exception, match="Bad Name"):
            world.build(f"FROM {IMAGE}\nRUN true\n", tags=("good:1", "Bad Name"))
        assert world.events == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.root
class TestFullDisk:
    @pytest.mark.parametrize(
        "line",
        [
            "COPY big /big",
            "ADD big.tar /x/",
            "RUN head -c 100000000 /dev/zero > /big",
            "RUN head -c 13000000 /dev/urandom > /big; sync; true",
        ],
    )
    def test_clear_message_and_whole_store(
        self, world: "World", cli: "Cli", small_disk: Path, tmp_path: Path, line: str
    ) -> None:
        root = small_disk / "root"
        archive = tmp_path / "base.tar"
        world.engine.save([IMAGE], archive)
        assert cli("--root", root, "load", "-i", archive).returncode == 0
        with (world.context / "big").open("wb") as file:
            file.truncate(40 << 20)
            file.seek(0)
            file.write(bytes(range(256)) * (40 << 12))
        subprocess.run(["tar", "-cf", "big.tar", "big"], cwd=world.context, check=True)
        world.write("Dockerfile", f"FROM {IMAGE}\n{line}\n")

        done = cli("--root", root, "build", world.context)

        assert done.returncode in (1, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        assert "no space left" in done.stderr.lower()
        assert " | >>> " in done.stderr
        with Store.open(root) as store:
            assert store.gc.verify() == []
        world.write("Dockerfile", f"FROM {IMAGE}\nRUN echo small > /f\n")
        done = cli("--root", root, "build", world.context)
        assert done.returncode == 0, done.stderr


class TestLocated:
    def test_own_errors_get_the_place_once(self) -> None:
        other = Span(file_name="Dockerfile", first_line=9, last_line=9)
        with pytest.raises(BuildError) as caught, located(other, "x"), located(SPAN, "x"):
            raise BuildError("text")
        assert caught.value.span == SPAN

    def test_errors_of_the_system_become_ours(self) -> None:
        with (
            pytest.raises(BuildHostError, match="do it: No space left") as caught,
            located(SPAN, "do it"),
        ):
            raise OSError(28, "No space left on device")
        assert caught.value.span == SPAN
        assert caught.value.exit_code == 3
        assert "prune" in (caught.value.hint or "")
