"""COPY to the letter of the reference: whose files, which modes, where they go."""

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from imagekit.build.errors import BuildError, CopyConflictError, SourceNotFoundError

if TYPE_CHECKING:
    from tests.build.conftest import Entry, World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
OLD = 1_234_567_890


def copied(world: "World", *lines: str, **options: object) -> "dict[str, Entry]":
    """The files of the layer of the last of ``lines``."""
    return world.last(world.build("\n".join((f"FROM {IMAGE}", *lines, "")), **options).image)


def tree(world: "World", **files: str) -> None:
    for name, text in files.items():
        world.write(name.replace("__", "/"), text)


def names(found: "dict[str, Entry]") -> set[str]:
    return {name for name, entry in found.items() if not entry.info.isdir()}


class TestOwners:
    def test_context_files_belong_to_root(self, world: "World") -> None:
        path = world.write("d/f", "x", 0o640)
        os.chown(path, 1234, 1234)
        os.chown(path.parent, 1234, 1234)

        found = copied(world, "COPY . /new/place/")

        assert {name: entry.owner for name, entry in found.items()} == dict.fromkeys(
            ("new", "new/place", "new/place/d", "new/place/d/f"), (0, 0)
        )
        assert found["new/place/d/f"].mode == 0o640

    def test_owners_of_a_stage_are_kept(self, world: "World") -> None:
        found = world.last(
            world.build(
                f"FROM {IMAGE} AS a\nRUN mkdir -p /s/d && touch /s/d/f && chown -R 5:6 /s\n"
                f"FROM {IMAGE}\nCOPY --from=a /s /t\n"
            ).image
        )

        assert found["t/d/f"].owner == (5, 6)
        assert found["t/d"].owner == (5, 6)
        assert found["t"].owner == (0, 0)

    @pytest.mark.parametrize(
        ("flag", "owner"),
        [
            ("7", (7, 7)),
            ("7:8", (7, 8)),
            ("app", (1000, 1001)),
            ("app:wheel", (1000, 50)),
            ("app:9", (1000, 9)),
            ("3:wheel", (3, 50)),
            (":wheel", (0, 50)),
            ("root", (0, 0)),
            ("nobody-there:none", (0, 0)),
            ("$who", (1000, 1001)),
        ],
    )
    def test_chown(self, world: "World", flag: str, owner: tuple[int, int]) -> None:
        world.write("d/f")

        found = copied(world, "ARG who=app", f"COPY --chown={flag} . /new/")

        assert {entry.owner for entry in found.values()} == {owner}
        assert found.keys() == {"new", "new/d", "new/d/f"}

    def test_chown_in_scratch_is_numbers_only(self, world: "World") -> None:
        world.write("f")

        result = world.build("FROM scratch\nCOPY --chown=app:wheel f /f\n")

        assert world.last(result.image)["f"].owner == (0, 0)


class TestModes:
    def test_octal_reaches_files_directories_and_parents(self, world: "World") -> None:
        world.write("d/f", "", 0o600)
        (world.context / "d/link").symlink_to("f")

        found = copied(world, "COPY --chmod=751 . /new/deep/")

        modes = {name: entry.mode for name, entry in found.items() if not entry.info.issym()}
        assert set(modes.values()) == {0o751}
        assert modes.keys() == {"new", "new/deep", "new/deep/d", "new/deep/d/f"}

    def test_symbolic_leaves_parents_alone(self, world: "World") -> None:
        world.write("d/f", "", 0o600)
        world.write("d/x", "", 0o700)

        found = copied(world, "COPY --chmod=u=rwX,go=rX . /new/")

        modes = {name: entry.mode for name, entry in found.items()}
        assert modes == {"new": 0o755, "new/d": 0o755, "new/d/f": 0o644, "new/d/x": 0o755}

    def test_special_bits_are_kept(self, world: "World") -> None:
        world.write("f", "", 0o4755)
        world.write("sticky/f").parent.chmod(0o1777)

        found = copied(world, "COPY . /n/")

        assert found["n/f"].mode == 0o4755
        assert found["n/sticky"].mode == 0o1777


class TestDirectories:
    def test_top_directory_gives_its_time_but_not_its_mode(self, world: "World") -> None:
        top = world.write("d/f").parent
        top.chmod(0o700)
        os.utime(top, (OLD, OLD))

        found = copied(world, "COPY d /new/place")

        assert (found["new/place"].mode, found["new/place"].mtime) == (0o755, OLD)

    def test_existing_destination_keeps_mode_and_owner(self, world: "World") -> None:
        world.write("d/f").parent.chmod(0o777)

        found = copied(world, "COPY d /owned")

        assert (found["owned"].mode, found["owned"].owner) == (0o700, (7, 8))

    def test_nested_directories_take_the_source_s_metadata(self, world: "World") -> None:
        nested = world.write("d/home/f").parent
        nested.chmod(0o711)
        os.utime(nested, (OLD, OLD))

        found = copied(world, "COPY d /")

        assert (found["home"].mode, found["home"].mtime) == (0o711, OLD)
        assert found["home"].owner == (0, 0)

    @pytest.mark.parametrize("source", ["d", "d/", "d/.", "/d", "./d", "x/../d", "../../d"])
    def test_contents_only_however_it_is_written(self, world: "World", source: str) -> None:
        tree(world, d__f="1", d__e__g="2")

        assert names(copied(world, f"COPY {source} /new")) == {"new/f", "new/e/g"}

    def test_empty_directory_makes_the_destination(self, world: "World") -> None:
        (world.context / "empty").mkdir()

        assert copied(world, "COPY empty /new").keys() == {"new"}


class TestDestination:
    @pytest.mark.parametrize(
        ("destination", "place"),
        [
            ("/new", "new"),
            ("/new/", "new/f"),
            ("/new/.", "new/f"),
            ("/data", "data/f"),
            ("new", "home/new"),
            (".", "home/f"),
            ("./", "home/f"),
            ("", "home/f"),
            ("..", "f"),
            ("/link-to-data", "data/f"),
            ("/link-to-data/sub/", "data/sub/f"),
            ("/link-to-nothing/", "made/up/f"),
            ("/link-to-nothing", "made/up"),
            ("/link-out/n", "data/n"),
            ("/link-to-file", "data/seed"),
            ("/a/b/../c", "a/c"),
            ("$dir/x", "home/var/x"),
        ],
    )
    def test_place_of_a_file(self, world: "World", destination: str, place: str) -> None:
        world.write("f", "new text")

        line = f'COPY ["f", "{destination}"]'
        found = copied(world, "WORKDIR /home", "ENV dir=var", line)

        assert names(found) == {place}
        assert found[place].text == "new text"

    def test_several_sources_without_a_slash_overwrite_each_other(self, world: "World") -> None:
        tree(world, a="1", b="2")

        assert copied(world, "COPY a b /new")["new"].text == "2"

    def test_several_sources_of_both_kinds(self, world: "World") -> None:
        tree(world, a="1", d__b="2", d__e__c="3")

        assert names(copied(world, "COPY a d /new/")) == {"new/a", "new/b", "new/e/c"}

    def test_link_in_the_way_is_replaced_when_nested(self, world: "World") -> None:
        tree(world, d__seed="new")

        found = copied(world, "RUN ln -s /etc/passwd /data/link", "COPY d /data")
        assert found["data/seed"].text == "new"
        tree(world, d__link="mine")
        found = copied(world, "RUN ln -s /etc/passwd /data/link", "COPY d /data")
        assert found["data/link"].text == "mine"
        assert "etc/passwd" not in found

    def test_conflicts(self, world: "World") -> None:
        tree(world, d__seed__f="", e__home="", f="")

        with pytest.raises(CopyConflictError, match="cannot copy to non-directory: /data/seed"):
            copied(world, "COPY d /data")
        with pytest.raises(CopyConflictError, match="cannot replace to directory /home with file"):
            copied(world, "COPY e /")
        with pytest.raises(CopyConflictError, match="cannot copy to non-directory: /data/seed"):
            copied(world, "COPY f /data/seed/")
        with pytest.raises(CopyConflictError, match="cannot copy to non-directory: /data/seed"):
            copied(world, "COPY f /data/seed/x/y")

    def test_loop_of_links_is_an_error(self, world: "World") -> None:
        world.write("f")

        with pytest.raises(CopyConflictError, match="cannot resolve /loop/x"):
            copied(world, "RUN ln -s loop /loop", "COPY f /loop/x")


class TestWildcards:
    def test_whole_names_only(self, world: "World") -> None:
        tree(world, **{"a.txt": "", "a.txt.bak": "", ".hidden.txt": "", "d__b.txt": ""})

        assert names(copied(world, "COPY *.txt /n/")) == {"n/a.txt", "n/.hidden.txt"}

    def test_directories_are_flattened(self, world: "World") -> None:
        tree(world, dir1__a="1", dir2__b__c="2", other="3")

        assert names(copied(world, "COPY dir* /n/")) == {"n/a", "n/b/c"}

    def test_below_directories(self, world: "World") -> None:
        tree(world, a__x__f="1", b__x__f2="2", b__y__g="3")

        assert names(copied(world, "COPY */x/f* /n/")) == {"n/f", "n/f2"}
        assert names(copied(world, "COPY [b]/?/g /n/")) == {"n/g"}
        assert names(copied(world, "COPY ** /n/")) == {"n/x/f", "n/x/f2", "n/y/g"}

    def test_no_match_is_fine_and_creates_nothing(self, world: "World") -> None:
        assert copied(world, "COPY none* /n/") == {}

    def test_missing_directory_before_the_wildcard_is_not(self, world: "World") -> None:
        with pytest.raises(SourceNotFoundError, match="none"):
            copied(world, "COPY none/* /n/")

    def test_escaped_wildcard(self, world: "World") -> None:
        tree(world, **{"a*": "star", "ab": "other"})

        assert names(copied(world, r'COPY ["a\\\\*", "/n/"]')) == {"n/a*"}

    def test_each_matched_directory_counts_for_the_cache(self, world: "World") -> None:
        tree(world, dir1__f="1", dir2__f="2")
        copied(world, "COPY dir* /n/")
        tree(world, dir1__f="changed")

        copied(world, "COPY dir* /n/")

        assert world.outcomes == ["done"]
        assert "dir1/f" in world.reasons[0]


class TestLinks:
    def test_top_level_link_is_followed_inside_the_context(self, world: "World") -> None:
        tree(world, real__f="text")
        (world.context / "file").symlink_to("real/f")
        (world.context / "dir").symlink_to("/real")
        (world.context / "up").symlink_to("../../../real")

        found = copied(world, "COPY file dir /n/")
        assert names(found) == {"n/file", "n/f"}
        assert found["n/file"].info.isreg()
        assert names(copied(world, "COPY up/f /m")) == {"m"}

    def test_nested_links_stay_links(self, world: "World") -> None:
        world.write("d/f")
        (world.context / "d/l").symlink_to("/etc/shadow")
        os.utime(world.context / "d/l", (OLD, OLD), follow_symlinks=False)

        entry = copied(world, "COPY d /n")["n/l"]

        assert entry.info.issym()
        assert (entry.info.linkname, entry.mtime, entry.owner) == ("/etc/shadow", OLD, (0, 0))

    def test_link_to_the_host_s_passwd_finds_nothing(self, world: "World") -> None:
        (world.context / "l").symlink_to("/etc/passwd")

        with pytest.raises(SourceNotFoundError):
            copied(world, "COPY l /n")

    def test_loop_of_links_in_the_context(self, world: "World") -> None:
        (world.context / "l").symlink_to("l")

        with pytest.raises(SourceNotFoundError):
            copied(world, "COPY l /n")

    def test_hard_links_stay_together(self, world: "World") -> None:
        first = world.write("d/a", "text")
        os.link(first, world.context / "d/b")
        os.link(first, world.context / "c")

        found = copied(world, "COPY d c /n/")

        links = [name for name, entry in found.items() if entry.info.islnk()]
        assert len(links) == 2
        assert {found[name].info.linkname for name in links} == {"n/a"}


class TestSpecialFiles:
    def test_fifo_device_and_socket(self, world: "World") -> None:
        folder = world.context / "d"
        folder.mkdir()
        os.mkfifo(folder / "fifo", 0o620)
        os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "sock"))
            found = copied(world, "COPY d /n")

        assert found["n/fifo"].info.isfifo()
        assert (found["n/null"].info.devmajor, found["n/null"].info.devminor) == (1, 3)
        assert (found["n/sock"].info.isreg(), found["n/sock"].info.size) == (True, 0)

    def test_mark_of_a_union_mount_is_refused(self, world: "World") -> None:
        (world.context / "d").mkdir()
        os.mknod(world.context / "d/seed", stat.S_IFCHR, os.makedev(0, 0))

        with pytest.raises(CopyConflictError, match="0:0"):
            copied(world, "COPY d /data")
        with pytest.raises(CopyConflictError, match="0:0"):
            world.build("FROM scratch\nCOPY d /data\n")

    def test_whiteout_name_is_refused(self, world: "World") -> None:
        world.write("d/.wh.seed")

        with pytest.raises(Exception, match=r"\.wh\.seed") as caught:
            copied(world, "COPY d /data")
        assert vars(caught.value)["span"].first_line == 2

    def test_attributes_of_files_and_directories(self, world: "World") -> None:
        path = world.write("d/e/f")
        os.setxattr(path, "user.of-file", b"1")
        os.setxattr(path.parent, "user.of-directory", b"2")
        os.setxattr(path, "user.overlay.opaque", b"y")

        found = copied(world, "COPY d /n")

        def attributes(name: str) -> dict[str, str]:
            prefix = "SCHILY.xattr."
            headers = found[name].info.pax_headers
            return {k.removeprefix(prefix): v for k, v in headers.items() if k.startswith(prefix)}

        assert attributes("n/e/f") == {"user.of-file": "1"}
        assert attributes("n/e") == {"user.of-directory": "2"}

    def test_names_that_are_not_utf8(self, world: "World") -> None:
        (world.context / os.fsdecode(b"caf\xe9")).write_text("x")

        copied(world, "COPY . /n/")
        copied(world, "COPY . /n/")

        assert world.outcomes == ["cached"]

    def test_times_are_kept(self, world: "World") -> None:
        os.utime(world.write("f"), (OLD, OLD))

        assert copied(world, "COPY f /f")["f"].mtime == OLD


class TestExclude:
    def test_relative_to_each_directory(self, world: "World") -> None:
        tree(world, a__x="", a__y__x="", b__x="", b__z="")

        found = copied(world, "COPY --exclude=x --exclude=z a b /n/")

        assert names(found) == {"n/y/x"}

    def test_order_and_negation(self, world: "World") -> None:
        tree(world, **{"d__a.md": "", "d__keep.md": "", "d__sub__keep.md": "", "d__c.txt": ""})

        found = copied(world, "COPY --exclude=**/*.md --exclude=!keep.md d /n")

        assert names(found) == {"n/keep.md", "n/c.txt"}

    def test_single_file_is_never_excluded(self, world: "World") -> None:
        tree(world, f="")

        assert names(copied(world, "COPY --exclude=* f /n")) == {"n"}

    def test_all_excluded_still_makes_the_destination(self, world: "World") -> None:
        tree(world, d__f="")

        assert copied(world, "COPY --exclude=* d /n").keys() == {"n"}


class TestParents:
    def test_whole_path_is_created_again(self, world: "World") -> None:
        tree(world, **{"a__b__f": "1", "c__x.txt": "2", "c__y.md": "3"})
        (world.context / "a").chmod(0o711)

        found = copied(world, "COPY --parents ./a/b c/*.txt /d/")

        assert names(found) == {"d/a/b/f", "d/c/x.txt"}
        assert found["d/a"].mode == 0o711

    def test_pivot(self, world: "World") -> None:
        tree(world, x__a__y__f="1", x__b__y__g="2", x__b__z__h="3")

        assert names(copied(world, "COPY --parents x/a/./y/f /d/")) == {"d/y/f"}
        assert names(copied(world, "COPY --parents x/*/./y /d/")) == {"d/y/f", "d/y/g"}
        assert names(copied(world, "COPY --parents x/./**/h /d/")) == {"d/b/z/h"}

    def test_literal_that_is_missing(self, world: "World") -> None:
        with pytest.raises(SourceNotFoundError):
            copied(world, "COPY --parents no/such /d/")

    def test_wildcard_without_a_match_makes_the_destination(self, world: "World") -> None:
        assert copied(world, "COPY --parents no/*.such /d/").keys() == {"d"}


class TestDocuments:
    def test_expansion_tabs_and_quotes(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE}\nENV who=me\nCOPY --chmod=600 <<a <<-'b' /n/\n"
            'hello $who \\$x "q"\na\n\t\thello $who\nb\n'
        )

        found = world.last(result.image)
        assert found["n/a"].text == 'hello me $x "q"\n'
        assert found["n/b"].text == "hello $who\n"
        assert (found["n/a"].mode, found["n/a"].owner) == (0o600, (0, 0))

    def test_default_mode_and_destination_file(self, world: "World") -> None:
        found = world.last(world.build(f"FROM {IMAGE}\nCOPY <<a /n\nx\na\n").image)

        assert (found["n"].mode, found["n"].text) == (0o644, "x\n")

    def test_after_the_files(self, world: "World") -> None:
        tree(world, f="file")

        result = world.build(f"FROM {IMAGE}\nCOPY f <<f /n/\nbody\nf\n")

        assert world.last(result.image)["n/f"].text == "body\n"

    def test_body_is_in_the_cache_key(self, world: "World") -> None:
        world.build(f"FROM {IMAGE}\nCOPY <<a /n\none\na\n")
        result = world.build(f"FROM {IMAGE}\nCOPY <<a /n\ntwo\na\n")

        assert world.last(result.image)["n"].text == "two\n"


class TestLinkFlag:
    def test_does_not_see_the_image(self, world: "World") -> None:
        tree(world, f="new")

        found = copied(world, "COPY --link f /link-to-data/f")

        assert names(found) == {"link-to-data/f"}
        assert found["link-to-data"].info.isdir()

    def test_chown_by_name_looks_into_the_image(self, world: "World") -> None:
        tree(world, f="new")

        assert copied(world, "COPY --link --chown=app:wheel f /n/")["n/f"].owner == (1000, 50)

    def test_with_chmod_it_is_a_plain_copy(self, world: "World") -> None:
        tree(world, f="new")

        assert names(copied(world, "COPY --link --chmod=600 f /link-to-data/f")) == {"data/f"}


class TestFromElsewhere:
    def test_image_and_index_and_name(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS one\nRUN echo 1 > /f\nFROM scratch\n"
            f"COPY --from=0 /f /by-index\nCOPY --from=ONE /f /by-name\n"
            f"COPY --from={IMAGE} /data/seed /by-image\n"
        )

        found = world.files(result.image)
        assert found["by-index"].text == found["by-name"].text == "1\n"
        assert found["by-image"].text == "from the image\n"

    def test_links_of_a_stage_stay_inside_it(self, world: "World") -> None:
        with pytest.raises(SourceNotFoundError):
            world.build(
                f"FROM {IMAGE} AS a\nRUN ln -s /../../../../../../proc/self/environ /out\n"
                "FROM scratch\nCOPY --from=a /out /x\n"
            )

    def test_working_directory_of_the_stage_is_ignored(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS a\nWORKDIR /etc\nFROM scratch\nCOPY --from=a data/seed /x\n"
        )

        assert world.last(result.image)["x"].text == "from the image\n"

    def test_named_context(self, world: "World") -> None:
        tree(world, other__f="text")

        result = world.build(
            "FROM scratch\nCOPY --from=more f /f\n",
            build_contexts={"more": str(world.context / "other")},
        )

        assert world.last(result.image)["f"].text == "text"

    def test_variable_is_refused(self, world: "World") -> None:
        with pytest.raises(Exception, match="variable expansion is not supported for --from"):
            world.build(f"FROM {IMAGE}\nCOPY --from=$x /f /f\n")

    def test_url_is_refused(self, world: "World") -> None:
        with pytest.raises(BuildError, match="source can't be a URL for COPY"):
            world.build(f"FROM {IMAGE}\nCOPY http://localhost/f /f\n")


class TestIgnore:
    def test_negation_below_an_excluded_directory(self, world: "World") -> None:
        tree(world, a__keep__f="", a__other="", b="", **{".dockerignore": "a\n!a/keep\n# b\n"})

        found = copied(world, "COPY . /n/")

        assert names(found) == {"n/a/keep/f", "n/b", "n/.dockerignore"}

    def test_excluded_source_says_so(self, world: "World") -> None:
        tree(world, **{"secret": "", ".dockerignore": "secret"})

        with pytest.raises(SourceNotFoundError, match=r"excluded by \.dockerignore") as caught:
            copied(world, "COPY secret /n")
        assert "!secret" in (caught.value.hint or "")

    def test_wildcard_skips(self, world: "World") -> None:
        tree(world, **{"a.txt": "", "b.txt": "", ".dockerignore": "b*"})

        assert names(copied(world, "COPY *.txt /n/")) == {"n/a.txt"}

    def test_link_to_an_excluded_file(self, world: "World") -> None:
        tree(world, **{"secret": "", ".dockerignore": "secret"})
        (world.context / "link").symlink_to("secret")

        with pytest.raises(SourceNotFoundError, match="excluded"):
            copied(world, "COPY link /n")
        assert copied(world, "COPY lin* /n/") == {}

    def test_star_then_exceptions(self, world: "World") -> None:
        tree(world, **{"src__a": "", "other": "", ".dockerignore": "*\n!src\n"})

        assert names(copied(world, "COPY . /n/")) == {"n/src/a"}

    def test_ignore_file_of_the_dockerfile_wins(self, world: "World") -> None:
        tree(
            world,
            a="",
            b="",
            **{".dockerignore": "a", "x.Dockerfile.dockerignore": "b"},
        )
        path = world.write("x.Dockerfile", f"FROM {IMAGE}\nCOPY a /n/\n")

        result = world.build_file(path)

        assert names(world.last(result.image)) == {"n/a"}

    def test_other_sources_are_not_filtered(self, world: "World") -> None:
        tree(world, **{".dockerignore": "*"})

        result = world.build(f"FROM scratch\nCOPY --from={IMAGE} /data/seed /x\n")

        assert world.last(result.image)["x"].text == "from the image\n"

    def test_excluded_file_does_not_count_for_the_cache(self, world: "World") -> None:
        tree(world, f="", log="1", **{".dockerignore": "log"})
        copied(world, "COPY . /n/")
        tree(world, log="2")

        copied(world, "COPY . /n/")

        assert world.outcomes == ["cached"]
