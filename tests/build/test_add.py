"""ADD: archives are unpacked, URLs fetched."""

import bz2
import gzip
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import zstandard

from imagekit.base.errors import ImagekitError
from imagekit.build.errors import BuildError
from imagekit.build.remote import FetchError
from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.build.conftest import Entry, World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
LAST_MODIFIED = 1_445_412_480


def archive(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member in members:
            member.mtime = 1_200_000_000
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return data.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode = kind, 0o640
    made.size = 1 if kind == tarfile.REGTYPE else 0
    for key, value in values.items():
        setattr(made, key, value)
    return made


def added(world: "World", *lines: str, **options: object) -> "dict[str, Entry]":
    return world.last(world.build("\n".join((f"FROM {IMAGE}", *lines, "")), **options).image)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


class TestArchives:
    @pytest.mark.parametrize("packer", PACKERS)
    def test_is_known_by_content(self, world: "World", packer: str) -> None:
        data = archive(member("d", tarfile.DIRTYPE, mode=0o711, uid=3, gid=4), member("d/f", uid=5))
        (world.context / "no-archive-name").write_bytes(PACKERS[packer](data))

        found = added(world, "ADD no-archive-name /n/deep")

        assert found.keys() == {"n", "n/deep", "n/deep/d", "n/deep/d/f"}
        assert (found["n/deep"].mode, found["n/deep"].owner) == (0o755, (0, 0))
        assert (found["n/deep/d"].mode, found["n/deep/d"].owner) == (0o711, (3, 4))
        assert (found["n/deep/d/f"].owner, found["n/deep/d/f"].mtime) == ((5, 0), 1_200_000_000)

    def test_copy_does_not_unpack(self, world: "World") -> None:
        (world.context / "a.tar").write_bytes(archive(member("f")))

        assert added(world, "COPY a.tar /n/").keys() == {"n", "n/a.tar"}

    def test_other_files_are_copied(self, world: "World") -> None:
        world.write("a.tar", "not an archive")
        (world.context / "b.gz").write_bytes(gzip.compress(b"not an archive"))
        world.write("empty")

        found = added(world, "ADD a.tar b.gz empty /n/")

        assert found.keys() == {"n", "n/a.tar", "n/b.gz", "n/empty"}

    def test_unpack_can_be_switched_off_and_is_in_the_key(self, world: "World") -> None:
        (world.context / "a.tar").write_bytes(archive(member("f")))
        added(world, "ADD a.tar /n/")

        assert added(world, "ADD --unpack=false a.tar /n/").keys() == {"n", "n/a.tar"}

    def test_chown_is_for_all_entries_and_chmod_for_none(self, world: "World") -> None:
        (world.context / "a.tar").write_bytes(archive(member("f", uid=5)))

        found = added(world, "ADD --chown=8:9 --chmod=777 a.tar /n/")

        assert (found["n/f"].owner, found["n/f"].mode) == ((8, 9), 0o640)

    def test_merges_and_replaces(self, world: "World") -> None:
        (world.context / "a.tar").write_bytes(
            archive(
                member("./", tarfile.DIRTYPE, mode=0o700, uid=9),
                member("./home", tarfile.SYMTYPE, linkname="data"),
                member("./data/seed"),
                member("./owned", tarfile.DIRTYPE, mode=0o711, uid=1, gid=1),
            )
        )

        found = added(world, "ADD a.tar /")

        assert found["home"].info.issym()
        assert found["data/seed"].content == b"x"
        assert (found["owned"].mode, found["owned"].owner) == (0o711, (1, 1))
        assert "." not in found

    @pytest.mark.parametrize("name", ["../out", "/../../out", "d/../../../out"])
    def test_entry_cannot_leave_the_image(self, world: "World", name: str) -> None:
        (world.context / "a.tar").write_bytes(archive(member(name)))

        with pytest.raises(ImagekitError, match="out") as caught:
            added(world, "ADD a.tar /n/")
        assert vars(caught.value)["span"].first_line == 2

    def test_entry_through_a_link_of_the_image_stays_inside(self, world: "World") -> None:
        (world.context / "a.tar").write_bytes(archive(member("link-out/f")))

        assert "data/f" in added(world, "ADD a.tar /")

    def test_corrupt_archive_is_an_error_at_its_line(self, world: "World") -> None:
        data = gzip.compress(archive(member("f", size=100_000), member("g")))
        (world.context / "a.tgz").write_bytes(data[: len(data) // 2])

        with pytest.raises(ImagekitError) as caught:
            added(world, "ADD a.tgz /n/")
        assert vars(caught.value)["span"].first_line == 2


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/files/goal")
                self.end_headers()
                return
            self.send_response(404 if self.path.startswith("/missing") else 200)
            if self.path.startswith("/files/dated"):
                self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            body = (
                gzip.compress(b"packed")
                if "encoded" in self.path
                else b"body of " + self.path.encode()
            )
            if self.path.endswith(".tar"):
                body = archive(member("f"))
            if "encoded" in self.path:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


class TestUrls:
    def test_mode_owner_and_time(self, world: "World", server: str) -> None:
        found = added(world, f"ADD {server}/files/dated?q=1 /n/")

        entry = found["n/dated"]
        assert (entry.mode, entry.owner, entry.mtime) == (0o600, (0, 0), LAST_MODIFIED)
        assert entry.text == "body of /files/dated?q=1"

    def test_without_a_time_it_is_the_epoch(self, world: "World", server: str) -> None:
        assert added(world, f"ADD {server}/files/f /n")["n"].mtime == 0

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/", "__unnamed__"),
            ("/d/", "__unnamed__"),
            ("/a%20b", "a b"),
            ("/x%2F..", "__unnamed__"),
            ("/%00", "__unnamed__"),
        ],
    )
    def test_name(self, world: "World", server: str, path: str, name: str) -> None:
        assert f"n/{name}" in added(world, f"ADD {server}{path} /n/")

    def test_redirect_keeps_the_name(self, world: "World", server: str) -> None:
        assert added(world, f"ADD {server}/moved /n/")["n/moved"].text == "body of /files/goal"

    def test_chown_and_chmod(self, world: "World", server: str) -> None:
        entry = added(world, f"ADD --chown=1:2 --chmod=755 {server}/f /n/")["n/f"]

        assert (entry.owner, entry.mode) == ((1, 2), 0o755)

    def test_archive_is_not_unpacked_unless_asked(self, world: "World", server: str) -> None:
        assert "n/x.tar" in added(world, f"ADD {server}/x.tar /n/")
        assert "n/f" in added(world, f"ADD --unpack=true {server}/x.tar /n/")

    def test_content_is_what_was_sent(self, world: "World", server: str) -> None:
        entry = added(world, f"ADD {server}/encoded.gz /n/")["n/encoded.gz"]

        assert gzip.decompress(entry.content) == b"packed"

    def test_checksum(self, world: "World", server: str) -> None:
        digest = Digest.of(b"body of /f")
        assert added(world, f"ADD --checksum={digest} {server}/f /n/")["n/f"].text == "body of /f"

        with pytest.raises(BuildError, match="checksum mismatch"):
            added(world, f"ADD --checksum={Digest.of(b'other')} {server}/f /n/")
        world.write("local")
        with pytest.raises(BuildError, match="requires"):
            added(world, f"ADD --checksum={digest} local /n/")
        with pytest.raises(BuildError, match="multiple sources"):
            added(world, f"ADD --checksum={digest} {server}/f {server}/g /n/")

    def test_unchanged_content_is_cached(self, world: "World", server: str) -> None:
        added(world, f"ADD {server}/files/dated /n/", "RUN true")
        added(world, f"ADD {server}/files/dated /n/", "RUN true")

        assert world.outcomes == ["cached", "cached"]

    def test_mixed_with_local_files_of_the_same_name(self, world: "World", server: str) -> None:
        world.write("f", "local 1")
        added(world, f"ADD {server}/f f /n/")
        world.write("f", "local 2")

        found = added(world, f"ADD {server}/f f /n/")

        assert world.outcomes == ["done"]
        assert found["n/f"].text == "body of /f"

    def test_missing(self, world: "World", server: str) -> None:
        with pytest.raises(FetchError, match="404") as caught:
            added(world, f"ADD {server}/missing /n/")
        assert vars(caught.value)["span"].first_line == 2

    def test_nobody_listens(self, world: "World") -> None:
        with pytest.raises(FetchError):
            added(world, "ADD http://127.0.0.1:9/f /n/")
