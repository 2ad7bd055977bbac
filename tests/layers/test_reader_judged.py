"""Archives that programs read differently mean here what they mean to Go's archive/tar."""

import io
import shutil
from pathlib import Path

import pytest

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.errors import LayerError
from tests.layers import judges
from tests.layers.judges import END, header, long, member, padded, pax

pytestmark = [pytest.mark.root, pytest.mark.peer]

GNU = b"ustar  \0"
STAR = b"tar\0"
SPARSE_1 = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"))
SPARSE_MAP = (b"GNU.sparse.map", b"5,3")
ONE_PART = (b"GNU.sparse.numblocks", b"1")
TEN = (b"GNU.sparse.size", b"10")

SAME = {
    "plain": member(b"x", b"1") + END,
    "nothing": b"",
    "one-block-of-zeros": bytes(512),
    "no-end": member(b"x", b"1"),
    "one-end-block": member(b"x", b"1") + bytes(512),
    "end-and-garbage": member(b"x", b"1") + END + b"garbage",
    "two-archives": member(b"x", b"1") + END + member(b"y", b"2") + END,
    "lone-zero-block": member(b"x", b"1") + bytes(512) + member(b"y", b"2") + END,
    "lone-zero-block-and-garbage": member(b"x", b"1") + bytes(512) + b"garbage",
    "cut-in-content": member(b"x", b"1" * 700)[:-400],
    "cut-in-padding": member(b"x", b"1" * 700)[:-40],
    "cut-in-header": member(b"x", b"1") + header(b"y")[:200],
    "old-name-and-pax-name": long(b"long") + pax((b"path", b"pax")) + member(b"x", b"1") + END,
    "pax-name-and-old-name": pax((b"path", b"pax")) + long(b"long") + member(b"x", b"1") + END,
    "old-link-and-pax-link": pax((b"linkpath", b"pax")) + long(b"long", b"K")
    + header(b"x", kind=b"2", link=b"short") + END,
    "empty-old-name": long(b"") + member(b"x", b"1") + END,
    "two-pax-headers": pax((b"path", b"one")) + pax((b"mtime", b"1")) + member(b"x") + END,
    "later-record-wins": pax((b"path", b"one"), (b"path", b"two")) + member(b"x") + END,
    "empty-record-takes-back": pax((b"path", b"one"), (b"path", b"")) + member(b"x") + END,
    "character-set": pax((b"hdrcharset", b"BINARY"), (b"path", b"\xff")) + member(b"x") + END,
    "pax-folder-slash": pax((b"path", b"folder/")) + header(b"x", kind=b"5") + END,
    "file-with-slash": member(b"x/", b"1") + member(b"y", b"2") + END,
    "old-file-with-slash": header(b"x/", kind=b"\0") + member(b"y", b"2") + END,
    "old-file-with-slash-and-size": header(b"x/", kind=b"\0", size=700) + member(b"y") + END,
    "link-with-size": header(b"x", kind=b"2", size=700, link=b"y") + member(b"y", b"2") + END,
    "hard-link-with-size": member(b"y", b"2") + header(b"x", kind=b"1", size=1, link=b"y") + END,
    "folder-with-size": header(b"x", kind=b"5", size=512) + member(b"y", b"2") + END,
    "fifo-with-size": header(b"x", kind=b"6", size=512) + member(b"y", b"2") + END,
    "v7": member(b"x", b"1", magic=b"", prefix=b"not a prefix") + END,
    "unknown-magic": member(b"x", b"1", magic=b"what's\0\0", prefix=b"prefix") + END,
    "ustar-prefix": member(b"x", b"1", prefix=b"a/b") + END,
    "ustar-of-another-version": member(b"x", b"1", magic=b"ustar\0zz", prefix=b"a") + END,
    "star-prefix": member(b"x", b"1", prefix=b"a" * 131 + b"0" * 24, trailer=STAR) + END,
    "gnu-with-times": member(b"x", b"1", magic=GNU, prefix=b"00000000001\0" * 2) + END,
    "go-1.7-gnu-prefix": member(b"x", b"1", magic=GNU, prefix=b"old/go/prefix") + END,
    "go-1.7-gnu-prefix-not-ascii": member(b"x", b"1", magic=GNU, prefix=b"old/g\xc3\xb6") + END,
    "octal-with-spaces": member(b"x", b"1", mode=b"   644 \0") + END,
    "base-256-size": header(b"x", size_field=b"\x80" + bytes(10) + b"\x01") + padded(b"1") + END,
    "negative-size": header(b"x", size_field=b"\xff" * 12) + END,
    "bad-number": member(b"x", b"1", uid=b"9999999\0") + END,
    "pax-size": pax((b"size", b"3")) + header(b"x") + padded(b"abc") + member(b"y") + END,
    "pax-size-negative": pax((b"size", b"-3")) + header(b"x") + END,
    "pax-size-no-number": pax((b"size", b"three")) + header(b"x") + END,
    "pax-length-wrong": header(b"p", kind=b"x", size=9) + padded(b"99 a=bcd\n") + member() + END,
    "pax-no-newline": header(b"p", kind=b"x", size=9) + padded(b"9 a=bcdef") + member(b"x") + END,
    "pax-no-equals": header(b"p", kind=b"x", size=9) + padded(b"9 abcdef\n") + member(b"x") + END,
    "pax-no-key": header(b"p", kind=b"x", size=9) + padded(b"9 =bcdef\n") + member(b"x") + END,
    "nul-in-key": pax((b"a\0b", b"c")) + member(b"x") + END,
    "nul-in-path": pax((b"path", b"a\0b")) + member(b"x") + END,
    "nul-in-value": pax((b"SCHILY.xattr.user.x", b"a\0b")) + member(b"x") + END,
    "xattrs": pax((b"SCHILY.xattr.user.x", b"1\n=")) + member(b"x") + END,
    "acl": pax((b"SCHILY.acl.access", b"user::rw-,user:1:rwx,mask::rwx,group::r--,other::r--"),
               (b"SCHILY.fflags", b"nodump")) + member(b"x") + END,
    "libarchive": pax((b"LIBARCHIVE.xattr.user.x", b"MQ"), (b"LIBARCHIVE.creationtime", b"1"))
    + member(b"x") + END,
    "sparse-0.1": pax(TEN, ONE_PART, SPARSE_MAP) + member(b"x", b"abc") + member(b"y") + END,
    "sparse-0.0": pax(TEN, ONE_PART, (b"GNU.sparse.offset", b"5"), (b"GNU.sparse.numbytes", b"3"))
    + member(b"x", b"abc") + END,
    "sparse-0.0-swapped": pax(TEN, ONE_PART, (b"GNU.sparse.numbytes", b"3"),
                              (b"GNU.sparse.offset", b"5")) + member(b"x", b"abc") + END,
    "sparse-0.1-without-count": pax(TEN, SPARSE_MAP) + member(b"x", b"abc") + END,
    "sparse-0.1-wrong-count": pax(TEN, SPARSE_MAP, (b"GNU.sparse.numblocks", b"2"))
    + member(b"x", b"abc") + END,
    "sparse-1.0": pax(*SPARSE_1, (b"GNU.sparse.realsize", b"10"), (b"GNU.sparse.name", b"real"))
    + member(b"GNUSparseFile.0/x", padded(b"1\n5\n3\n") + b"abc") + END,
    "sparse-2.0": pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"),
                      (b"GNU.sparse.name", b"real")) + member(b"x", b"abc") + END,
    "sparse-name-alone": pax((b"GNU.sparse.name", b"real"), TEN) + member(b"x", b"abc") + END,
    "sparse-out-of-order": pax(TEN, (b"GNU.sparse.numblocks", b"2"),
                               (b"GNU.sparse.map", b"5,1,0,1")) + member(b"x", b"ab") + END,
    "sparse-past-its-end": pax((b"GNU.sparse.size", b"6"), ONE_PART, SPARSE_MAP)
    + member(b"x", b"abc") + END,
    "sparse-overflow": pax(TEN, ONE_PART, (b"GNU.sparse.map", b"9223372036854775807,3"))
    + member(b"x", b"abc") + END,
    "sparse-too-much-content": pax(TEN, ONE_PART, SPARSE_MAP) + member(b"x", b"abcdef") + END,
    "sparse-too-little-content": pax(TEN, ONE_PART, SPARSE_MAP) + member(b"x", b"ab") + END,
    "sparse-link": pax(TEN, ONE_PART, SPARSE_MAP) + header(b"x", kind=b"2", link=b"y") + END,
    "sparse-old-of-star": header(b"x", kind=b"S", size=3, real_size=b"00000000012",
                                 sparse=b"00000000005\x0000000000003\0") + padded(b"abc") + END,
    "unknown-type": member(b"x", b"1", kind=b"Z") + member(b"y", b"2") + END,
    "later-volume": member(b"x", b"1", kind=b"M") + END,
}  # fmt: skip

# What docker and containerd read, and umoci does not.
BEYOND_UMOCI = {
    "global-header-with-name": pax((b"path", b"all"), kind=b"g") + member(b"x", b"1") + END,
    "global-header-between": pax((b"path", b"one")) + pax((b"a", b"b"), kind=b"g") + member(b"x")
    + END,
    "global-header-after-long": long(b"long") + pax((b"a", b"b"), kind=b"g") + member(b"x") + END,
    "sparse-old": header(b"x", kind=b"S", size=3, magic=GNU, real_size=b"00000000012",
                         sparse=b"00000000005\x0000000000003\0") + padded(b"abc") + END,
}  # fmt: skip
BEYOND_UMOCI_MEANS = {
    "global-header-with-name": ("x", b"1"),
    "global-header-between": ("x", b""),
    "global-header-after-long": ("x", b""),
    "sparse-old": ("x", bytes(5) + b"abc" + bytes(2)),
}


def ours(layer: bytes, folder: Path) -> judges.Tree | None:
    try:
        apply_layer(io.BytesIO(layer), folder, form=WhiteoutForm.PLAIN)
    except LayerError:
        return None
    return judges.tree_of(folder)


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
@pytest.mark.parametrize("case", SAME)
def test_an_archive_means_what_it_means_to_go(case: str, tmp_path: Path) -> None:
    assert ours(SAME[case], tmp_path) == judges.umoci_unpacks(SAME[case])


@pytest.mark.parametrize("case", BEYOND_UMOCI)
def test_what_umoci_does_not_read(case: str, tmp_path: Path) -> None:
    apply_layer(io.BytesIO(BEYOND_UMOCI[case]), tmp_path, form=WhiteoutForm.PLAIN)

    name, content = BEYOND_UMOCI_MEANS[case]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (member(b"a") + member(b"x/y", b"1", kind=b"Z"), "entry 'x/y': unknown tar member"),
        (member(b"a") + pax((b"path", b"long")) + member(uid=b"9999999"), "entry 'long': bad"),
        (member(b"a") + b"?" * 512, "after layer entry 'a': not a tar header"),
        (member(b"a") + member(b"b" * 90, b"1" * 900)[:-600], "in layer entry 'bbb"),
        (member(b"x", b"1", kind=b"M"), "not the first volume of a multi-volume archive"),
        (pax((b"path", b"a/" + b"n" * 256)) + member(), r"in layer entry 'a/nn.*part of the name"),
        (pax((b"SCHILY.xattr.user." + b"n" * 251, b"1")) + member(), "in layer entry 'x': the ext"),
        (pax((b"SCHILY.xattr.user.n", b"1" * 65537)) + member(), r"'user\.n' of 65537 bytes"),
        (pax(*((b"SCHILY.xattr.user.%d" % n, b"1") for n in range(1025))) + member(), "1025 ext"),
        (pax((b"path", b"d/" * 2049)) + member(), "in layer entry 'd/d.*longer than 4095 bytes"),
        (member(b"\x1b[31m\n", kind=b"Z"), r"in layer entry '\\x1b\[31m\\n'"),
    ],
    ids=range(11),
)  # fmt: skip
def test_errors_name_the_entry(layer: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match=message):
        apply_layer(io.BytesIO(layer), tmp_path, form=WhiteoutForm.PLAIN)
