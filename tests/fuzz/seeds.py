"""Make the first inputs of the fuzzer: ``python -m tests.fuzz.seeds``; needs root, tar and bsdtar.

A small tree in every format that programs write, the same archive in every compression, and the
documents of an image.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import zstandard

from tests.fuzz.run import CORPUS
from tests.layers.judges import END, header, layout_of, member, pax

SKIPPABLE = b"\x50\x2a\x4d\x18" + (16).to_bytes(4, "little") + bytes(16)
COMMANDS = {
    "gnu-v7": ["tar", "--format=v7"],
    "gnu-oldgnu": ["tar", "--format=oldgnu"],
    "gnu-gnu": ["tar", "--format=gnu", "-V", "label"],
    "gnu-ustar": ["tar", "--format=ustar"],
    "gnu-posix": ["tar", "--format=posix", "--xattrs"],
    "gnu-sparse-old": ["tar", "-S", "--format=gnu"],
    "gnu-sparse-0.0": ["tar", "-S", "--format=posix", "--sparse-version=0.0"],
    "gnu-sparse-0.1": ["tar", "-S", "--format=posix", "--sparse-version=0.1"],
    "gnu-sparse-1.0": ["tar", "-S", "--format=posix", "--sparse-version=1.0"],
    "bsdtar-pax": ["bsdtar", "--format=pax", "--xattrs", "--acls"],
    "bsdtar-gnutar": ["bsdtar", "--format=gnutar"],
    "bsdtar-ustar": ["bsdtar", "--format=ustar"],
}


def main() -> None:
    """Write everything below testdata/layers."""
    for folder in ("archives", "packed", "documents"):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    for name, data in (archives() | whiteouts()).items():
        (CORPUS / "archives" / name).write_bytes(data)
    for name, data in packed().items():
        (CORPUS / "packed" / name).write_bytes(data)
    for name, data in documents().items():
        (CORPUS / "documents" / name).write_bytes(data)


def archives() -> dict[str, bytes]:
    """Return the tree as other programs write it, without padding to records of 10 KiB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make_tree(root)
        made = {}
        for name, command in COMMANDS.items():
            names = ["d", "h", "l"]
            if "sparse" in name:
                names = ["sparse-5" if name == "gnu-sparse-old" else "sparse-2"]
            if name in ("gnu-gnu", "gnu-posix", "bsdtar-pax", "bsdtar-gnutar"):
                names.append("n" * 120)
            done = subprocess.run(
                [*command, "-b", "1", "-cf", "-", "-C", root, *names],
                check=True,
                capture_output=True,
            )
            made[name] = done.stdout
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(root / "d", arcname="./d")
        made["python-pax"] = output.getvalue()[: 6 * 512] + END
    return made


def _make_tree(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/a").write_bytes(b"content")
    (root / "d/l").symlink_to("../d")
    os.link(root / "d/a", root / "h")
    (root / "l").symlink_to("d")
    os.mkfifo(root / "fifo")
    (root / ("n" * 120)).write_bytes(b"long")
    os.setxattr(root / "d/a", "user.x", b"1\n=")
    for parts in (2, 5):  # the header of the old format can hold four
        with open(root / f"sparse-{parts}", "wb") as file:
            for part in range(parts):
                file.seek(part << 14)
                file.write(b"part")
            file.truncate(6 << 14)


def whiteouts() -> dict[str, bytes]:
    """Return layers that delete, and that go through links."""
    folder = b"5"
    return {
        "whiteouts": member(b"lower/.wh.f") + member(b"lower/sub/.wh..wh..opq")
        + member(b"lower/sub/new", b"1") + member(b".wh.h") + header(b"d", kind=folder)
        + member(b"d/.wh..wh..opq") + END,
        "links": header(b"l", kind=b"2", link=b"../outside") + member(b"l/secret", b"evil")
        + header(b"h2", kind=b"1", link=b"a/f") + member(b"h2", b"evil")
        + header(b"lower/sub", kind=b"2", link=b"/") + member(b"lower/sub/x", b"1") + END,
        "devices": header(b"null", kind=b"3", major=b"0000001\0", minor=b"0000003\0")
        + pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + header(b"lower", kind=folder)
        + header(b"d0", kind=b"4", major=b"0000010\0") + END,
    }  # fmt: skip


def packed() -> dict[str, bytes]:
    """Return one archive in every compression, in one part and in several."""
    plain = member(b"x", b"content" * 40) + END
    zstd = zstandard.ZstdCompressor(write_checksum=True).compress
    return {
        "gzip": gzip.compress(plain, mtime=0),
        "gzip-fields": b"\x1f\x8b\x08\x1c" + bytes(6) + b"\4\0SGxxname\0comment\0"
        + gzip.compress(plain, mtime=0)[10:],
        "gzip-members": gzip.compress(plain[:600], mtime=0) + gzip.compress(plain[600:], mtime=0)
        + bytes(8),
        "zstd": zstd(plain),
        "zstd-chunked": zstd(plain[:600]) + zstd(plain[600:]) + SKIPPABLE + SKIPPABLE,
        "bzip2": bz2.compress(plain),
        "xz": lzma.compress(plain),
        "xz-streams": lzma.compress(plain[:600]) + bytes(4) + lzma.compress(plain[600:]),
        "none": plain,
    }  # fmt: skip


def documents() -> dict[str, bytes]:
    """Return the JSON documents of an image, and its two kinds of archive."""
    made: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        layout = Path(folder)
        layout_of(member(b"x", b"1") + END, layout)
        archive = b""
        for path in sorted(path for path in layout.rglob("*") if path.is_file()):
            data = path.read_bytes()
            archive += member(str(path.relative_to(layout)).encode(), data)
            if data[:1] == b"{":
                made[f"json-{len(made)}"] = data
        made["oci-archive"] = archive + END
    docker = json.dumps([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["l"]}]).encode()
    made["docker-json"] = docker
    made["docker-archive"] = (
        member(b"c", b"{}") + member(b"l", b"1") + member(b"manifest.json", docker) + END
    )
    made["config"] = json.dumps(
        {
            "created": "2024-01-02T03:04:05.678Z", "architecture": "amd64", "os": "linux",
            "variant": "v3", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
            "config": {"User": "1:2", "Env": ["A=b"], "Entrypoint": ["x"], "Cmd": None,
                       "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "Labels": {"a": "b"},
                       "WorkingDir": "/w", "StopSignal": "SIGTERM",
                       "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1000}},
            "history": [{"created_by": "x", "empty_layer": True}],
        }
    ).encode()  # fmt: skip
    return made


if __name__ == "__main__":
    main()
