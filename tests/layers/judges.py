"""Archives that programs read differently, and what Go's archive/tar makes of them."""

import hashlib
import json
import os
import stat
import subprocess
import tempfile
from pathlib import Path

from imagekit.layers import tarformat
from imagekit.oci.digest import Digest
from imagekit.oci.platform import Platform

END = tarformat.END_OF_ARCHIVE
Tree = dict[str, tuple[object, ...]]


def header(name: bytes = b"x", *, kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """Return a header block; ``fields`` are raw bytes for a field, cut and padded with NULs."""
    block = bytearray(tarformat.encode_header(name[:100], b"", 0o644, 0, 0, size, 0, kind))
    for field, value in fields.items():
        start, stop = FIELDS[field]
        block[start:stop] = value[: stop - start].ljust(stop - start, b"\0")
    return with_checksum(block)


FIELDS = {
    "mode": (100, 108), "uid": (108, 116), "gid": (116, 124), "size_field": (124, 136),
    "mtime": (136, 148), "link": (157, 257), "magic": (257, 265), "major": (329, 337),
    "minor": (337, 345), "prefix": (345, 500), "atime": (345, 357), "ctime": (357, 369),
    "sparse": (386, 482), "more": (482, 483), "real_size": (483, 495), "trailer": (508, 512),
}  # fmt: skip


def with_checksum(block: bytes | bytearray) -> bytes:
    """Return the header block with the checksum it should have."""
    blanked = bytes(block[:148]) + b" " * 8 + bytes(block[156:512])
    return blanked[:148] + b"%06o\0 " % sum(blanked) + blanked[156:]


def member(name: bytes = b"x", content: bytes = b"", **fields: bytes) -> bytes:
    """Return a regular member with its content."""
    kind = fields.pop("kind", b"0")
    return header(name, kind=kind, size=len(content), **fields) + padded(content)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return an extended header."""
    blocks = tarformat.encode_pax(b"pax", records)
    return with_checksum(blocks[:156] + kind + blocks[157:512]) + blocks[512:]


def long(name: bytes, kind: bytes = b"L") -> bytes:
    """Return a GNU header for a long name or link."""
    body = name + b"\0"
    return header(b"././@LongLink", kind=kind, size=len(body), magic=b"ustar  \0") + padded(body)


def padded(content: bytes) -> bytes:
    """Return content with NULs up to a whole block."""
    return content + bytes(-len(content) % 512)


def tree_of(root: Path) -> Tree:
    """Return type, size or target, content and attributes of everything below ``root``."""
    tree: Tree = {}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            what: object = None
            if kind == stat.S_IFREG:
                what = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif kind == stat.S_IFLNK:
                what = os.readlink(path)
            xattrs = tuple(
                (key, os.getxattr(path, key, follow_symlinks=False))
                for key in sorted(os.listxattr(path, follow_symlinks=False))
            )
            tree[os.path.relpath(path, root)] = (kind, what, status.st_size, xattrs)
    return tree


def layout_of(layer: bytes, folder: Path) -> None:
    """Make an OCI image layout with one image, ``1``, of one plain layer."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        digest = Digest.of(data)
        (blobs / digest.hex).write_bytes(data)
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    config = {
        "architecture": Platform.host().architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
    }
    manifest = {
        "schemaVersion": 2,
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def umoci_unpacks(layer: bytes) -> Tree | None:
    """Return what umoci (Go's archive/tar) makes of a layer, None when it refuses it."""
    with tempfile.TemporaryDirectory() as scratch:
        layout, bundle = Path(scratch, "layout"), Path(scratch, "bundle")
        layout_of(layer, layout)
        done = subprocess.run(
            ["umoci", "unpack", "--image", f"{layout}:1", bundle], check=False, capture_output=True
        )
        if done.returncode != 0:
            return None
        return tree_of(bundle / "rootfs")
