"""When steps run again and why, and that equal content is found again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.build import sources
from imagekit.build.request import BuildRequest
from imagekit.engine import Engine
from imagekit.oci.mediatype import OCI_LAYER_ZSTD, Compression

if TYPE_CHECKING:
    from tests.build.conftest import World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
TEXT = f"""FROM {IMAGE}
ARG version=1
ENV mode=fast
COPY src /src
RUN cat /src/* > /all
COPY other /other
RUN echo done > /done
"""


@pytest.fixture(autouse=True)
def files(fresh: "World") -> None:
    fresh.write("src/a", "1")
    fresh.write("src/b", "2")
    fresh.write("other", "3")


def test_second_build_is_all_cached_and_the_same_image(fresh: "World") -> None:
    first = fresh.build(TEXT)
    second = fresh.build(TEXT)

    assert fresh.outcomes == ["cached"] * 4
    assert fresh.reasons == []
    assert (second.steps, second.cached) == (4, 4)
    assert second.image.descriptor == first.image.descriptor


def test_first_build_says_so(fresh: "World") -> None:
    fresh.build(TEXT)

    assert set(fresh.reasons) == {"first build of this step"}


def test_changed_file_is_named_and_later_equal_content_hits_again(fresh: "World") -> None:
    fresh.build(TEXT)
    fresh.write("src/b", "changed")
    fresh.build(TEXT)

    assert fresh.outcomes == ["done", "done", "done", "done"]
    assert "file src/b changed" in fresh.reasons[0]
    assert set(fresh.reasons[1:]) == {"the step before it gave another result"}


def test_equal_result_downstream_hits_again(fresh: "World") -> None:
    text = (
        f"FROM {IMAGE} AS a\nCOPY src /s\nRUN echo same > /same\nFROM {IMAGE}\n"
        "COPY --from=a /same /same\nRUN echo after\n"
    )
    fresh.build(text)
    fresh.write("src/a", "changed")

    fresh.build(text)

    assert fresh.outcomes == ["done", "done", "cached", "cached"]


def test_touch_keeps_the_cache_and_chmod_does_not(fresh: "World") -> None:
    fresh.build(TEXT)
    os.utime(fresh.context / "src/a", (1, 1))
    os.utime(fresh.context / "src", (1, 1))
    fresh.build(TEXT)
    assert fresh.outcomes == ["cached"] * 4

    (fresh.context / "src/a").chmod(0o600)
    fresh.build(TEXT)
    assert "file src/a changed" in fresh.reasons[0]


def test_new_and_removed_files_are_named(fresh: "World") -> None:
    fresh.build(TEXT)
    fresh.write("src/c")
    (fresh.context / "src/a").unlink()

    fresh.build(TEXT)

    assert fresh.reasons[0] == "file src/a is gone; file src/c is new"


def test_same_size_and_time_but_other_content(fresh: "World") -> None:
    path = fresh.context / "src/a"
    os.utime(path, (1000, 1000))
    fresh.build(TEXT)
    fresh.build(TEXT)
    path.write_text("9")
    os.utime(path, (1000, 1000))

    fresh.build(TEXT)

    assert "file src/a changed" in fresh.reasons[0]


def test_changed_argument_reaches_run_but_not_copy(fresh: "World") -> None:
    fresh.build(TEXT)

    fresh.build(TEXT, build_args={"version": "2"})

    assert fresh.outcomes[:2] == ["cached", "done"]
    assert "variable version changed (1 -> 2)" in fresh.reasons[0]


def test_changed_variable_is_named(fresh: "World") -> None:
    fresh.build(TEXT)

    fresh.build(TEXT.replace("fast", "slow"))

    assert "variable mode changed (fast -> slow)" in fresh.reasons[0]


def test_metadata_does_not_bust(fresh: "World") -> None:
    fresh.build(TEXT)

    fresh.build(TEXT.replace("COPY src", "LABEL a=b\nCMD x\nEXPOSE 1\nCOPY src"))

    assert fresh.outcomes == ["cached"] * 4


def test_comments_and_spaces_do_not_bust(fresh: "World") -> None:
    fresh.build(TEXT)

    fresh.build(TEXT.replace("RUN cat", "# a comment\nRUN    cat"))

    assert fresh.outcomes == ["cached"] * 4


def test_changed_command_is_told(fresh: "World") -> None:
    fresh.build(TEXT)

    fresh.build(TEXT.replace("echo done", "echo finished"))

    assert fresh.outcomes == ["cached", "cached", "cached", "done"]
    assert "command changed" in fresh.reasons[0]


def test_user_network_and_directory_are_in_the_key_of_run(fresh: "World") -> None:
    text = f"FROM {IMAGE}\n{{}}RUN {{}} echo x\n"
    variants = [
        ("", ""),
        ("USER app\n", ""),
        ("WORKDIR /tmp\n", ""),
        ("", "--network=none"),
        ("", "--mount=type=cache,target=/c"),
        ("", "--mount=type=tmpfs,target=/c"),
    ]
    for before, flag in variants:
        fresh.build(text.format(before, flag))
        assert fresh.outcomes[-1] == "done"
    fresh.build(text.format("", ""), network="none")
    assert fresh.outcomes == ["cached"]  # the same as --network=none


def test_no_cache_of_everything_and_of_one_stage(fresh: "World") -> None:
    text = (
        f"FROM {IMAGE} AS a\nRUN echo a > /f\nFROM {IMAGE} AS b\nCOPY --from=a /f /f\nRUN echo b\n"
    )
    fresh.build(text)

    fresh.build(text, no_cache=True)
    assert fresh.outcomes == ["done"] * 3
    assert set(fresh.reasons) == {"the cache is off"}
    fresh.build(text, no_cache_stages=("A",))
    assert fresh.outcomes == ["done", "cached", "cached"]


def test_two_tags_of_one_image_are_one(fresh: "World") -> None:
    fresh.build(TEXT)
    fresh.engine.tag(IMAGE, "another:name")

    fresh.build(TEXT.replace(IMAGE, "another:name"))

    assert fresh.outcomes == ["cached"] * 4


def test_stage_name_is_not_in_the_key(fresh: "World") -> None:
    text = f"FROM {IMAGE} AS one\nRUN echo x > /f\nFROM scratch\nCOPY --from=one /f /f\n"
    fresh.build(text)

    fresh.build(text.replace("one", "two"))

    assert fresh.outcomes == ["cached", "cached"]


def test_files_of_a_stage_are_digested_once(fresh: "World") -> None:
    text = f"FROM {IMAGE} AS a\nRUN echo x > /f\nFROM scratch\nCOPY --from=a /f /g\n"
    fresh.build(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources.Tree, "digest", None)  # whoever reads a file fails
        fresh.build(text)

    assert fresh.outcomes == ["cached", "cached"]


def test_other_compression_makes_other_blobs_without_running(fresh: "World") -> None:
    first = fresh.build(TEXT)

    second = fresh.build(TEXT, compression=Compression.ZSTD)

    assert fresh.outcomes == ["cached"] * 4
    assert second.image.config.diff_ids == first.image.config.diff_ids
    assert second.image.manifest.layers[-1].media_type == OCI_LAYER_ZSTD


def test_file_that_changes_while_it_is_copied_is_not_cached(fresh: "World") -> None:
    original = sources.Tree.open_file
    path = fresh.context / "src/a"

    def open_and_change(self: sources.Tree, item: sources.Item) -> object:
        opened = original(self, item)
        if item.path == "src/a" and fresh.context.joinpath("go").exists():
            path.write_text("sneaky")
        return opened

    fresh.write(".dockerignore", "go")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources.Tree, "open_file", open_and_change)
        fresh.write("go")
        fresh.build(TEXT)
    assert any("src/a was changed during the build" in text for text in fresh.notices)
    (fresh.context / "go").unlink()

    fresh.build(TEXT)

    assert fresh.outcomes[0] == "done"


class TestReproducible:
    def copy(self, world: "World", place: Path) -> Path:
        for name in ("src/a", "src/b", "other"):
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((world.context / name).read_bytes())
        return place

    @pytest.mark.parametrize(
        "options",
        [
            {"reproducible": True},
            {"source_date_epoch": 1_700_000_000},
            {"build_args": {"SOURCE_DATE_EPOCH": "1700000000"}},
        ],
    )
    def test_two_directories_and_two_stores_give_one_digest(
        self,
        fresh: "World",
        new_root: Callable[[], Path],
        tmp_path: Path,
        options: dict[str, object],
    ) -> None:
        first = str(fresh.build(TEXT, **options).image.descriptor.digest)
        image = fresh.engine.image(IMAGE)
        other = self.copy(fresh, tmp_path / "elsewhere")
        root = new_root()
        with Engine.open(root) as engine:  # the import's own time is in its image: take that image
            engine.remove_image(IMAGE)
            archive = tmp_path / "base.tar"
            fresh.engine.save([IMAGE], archive)
            engine.load(archive)
            assert engine.image(IMAGE).id == image.id

        with Engine.open(root) as engine:
            request = BuildRequest(context=other, dockerfile_text=TEXT, **options)  # type: ignore[arg-type] # as given above
            second = engine.build(request)

        assert str(second.image.descriptor.digest) == first
        epoch = (
            "1970-01-01T00:00:00Z" if options == {"reproducible": True} else "2023-11-14T22:13:20Z"
        )
        assert second.image.config.created == epoch

    def test_times_are_clamped_and_never_raised(self, fresh: "World") -> None:
        os.utime(fresh.context / "other", (1000, 1000))

        result = fresh.build(TEXT, source_date_epoch=1_000_000)

        found = fresh.files(result.image, layers=4)
        assert found["other"].mtime == 1000
        assert found["done"].mtime == found["src/a"].mtime == 1_000_000

    def test_epoch_is_seen_by_arg(self, fresh: "World") -> None:
        fresh.build(
            f"ARG SOURCE_DATE_EPOCH=77\nFROM {IMAGE}\nARG SOURCE_DATE_EPOCH\n"
            "RUN echo epoch=$SOURCE_DATE_EPOCH\n"
        )

        assert fresh.output == "epoch=77\n"

    def test_wrong_epoch(self, fresh: "World") -> None:
        with pytest.raises(Exception, match="invalid SOURCE_DATE_EPOCH: soon"):
            fresh.build(TEXT, build_args={"SOURCE_DATE_EPOCH": "soon"})
