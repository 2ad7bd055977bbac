"""Who a process is: USER looked up in the image's own passwd and group files.

The host's name service is never asked, and no library of the image is loaded. The files are data
of an unknown author: they are opened below the root without leaving it, must be regular, and are
read up to a bound.
"""

import errno
import os
import stat
from typing import Final

from imagekit.base.record import Record
from imagekit.linux.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from imagekit.linux.files import openat2
from imagekit.sandbox.errors import UnknownUserError

MAX_FILE_BYTES: Final = 10 << 20
MAX_ID: Final = 2**32 - 2
_CHUNK_BYTES: Final = 1 << 16


class Identity(Record):
    """Numbers to run with; ``home`` is "/" when the image does not say."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class PasswdEntry(Record):
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


class GroupEntry(Record):
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


def parse_passwd(text: str) -> list[PasswdEntry]:
    """Return the well-formed lines of a passwd file, in order; others are ignored.

    Source: passwd(5).
    """
    entries = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 6 and fields[0] and _is_id(fields[2]) and _is_id(fields[3]):
            entries.append(PasswdEntry(fields[0], int(fields[2]), int(fields[3]), fields[5]))
    return entries


def parse_group(text: str) -> list[GroupEntry]:
    """Return the well-formed lines of a group file, in order; others are ignored.

    Source: group(5).
    """
    entries = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 4 and fields[0] and _is_id(fields[2]):
            members = tuple(name for name in fields[3].split(",") if name)
            entries.append(GroupEntry(fields[0], int(fields[2]), members))
    return entries


def identify(
    user: str,
    passwd: list[PasswdEntry],
    group: list[GroupEntry],
    extra_groups: tuple[str, ...] = (),
) -> Identity:
    """Return the identity that ``user`` ("", "name", "uid", either with ":group") stands for.

    A number is always an id and never looked up as a name. Without a group the primary group of
    the passwd entry is used, or 0; supplementary groups are those of the group file, and only when
    no group was named, as docker does it.

    Raises:
        UnknownUserError: a name is not in the files, or a number is out of range.

    """
    user_part, separator, group_part = user.partition(":")
    entry = _find_user(user_part or "0", passwd)
    if separator and group_part:
        gid = _find_group(group_part, group)
        groups: tuple[int, ...] = ()
    else:
        gid = entry.gid
        groups = tuple(item.gid for item in group if entry.name and entry.name in item.members)
    extra = tuple(_find_group(name, group) for name in extra_groups)
    supplementary = tuple(dict.fromkeys((gid, *groups, *extra)))
    return Identity(entry.uid, gid, supplementary, entry.home or "/")


def resolve_user(root_fd: int, user: str, extra_groups: tuple[str, ...] = ()) -> Identity:
    """Return the identity of ``user`` by the files below the directory ``root_fd``.

    Raises:
        UnknownUserError: see ``identify``; also when a file is not regular or too large.

    """
    return identify(
        user,
        parse_passwd(_read(root_fd, "etc/passwd")),
        parse_group(_read(root_fd, "etc/group")),
        extra_groups,
    )


def _find_user(text: str, passwd: list[PasswdEntry]) -> PasswdEntry:
    if _is_number(text):
        uid = _checked_id(text)
        for entry in passwd:
            if entry.uid == uid:
                return entry
        return PasswdEntry("", uid, 0, "/")
    for entry in passwd:
        if entry.name == text:
            return entry
    if text == "root":
        return PasswdEntry("root", 0, 0, "/root")
    raise UnknownUserError(
        f"no user {text!r} in the image's /etc/passwd",
        operation="user",
        hint="Use a numeric id, or create the user in an earlier step.",
    )


def _find_group(text: str, group: list[GroupEntry]) -> int:
    if _is_number(text):
        return _checked_id(text)
    for entry in group:
        if entry.name == text:
            return entry.gid
    if text == "root":
        return 0
    raise UnknownUserError(
        f"no group {text!r} in the image's /etc/group",
        operation="user",
        hint="Use a numeric id, or create the group in an earlier step.",
    )


def _checked_id(text: str) -> int:
    if not _is_id(text):
        raise UnknownUserError(f"id {text[:20]} is not between 0 and {MAX_ID}", operation="user")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_id(text: str) -> bool:
    return _is_number(text) and len(text) <= 10 and int(text) <= MAX_ID


def _read(root_fd: int, path: str) -> str:
    """Return the text of a small regular file below the root; empty when there is none."""
    try:
        fd = openat2(
            root_fd,
            path,
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            0,
            RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        )
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ""
        raise UnknownUserError(
            f"cannot read the image's /{path}: {os.strerror(error.errno or 0)}",
            operation="user",
            errno=error.errno or 0,
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnknownUserError(f"the image's /{path} is not a regular file", operation="user")
        data = b""
        while len(data) <= MAX_FILE_BYTES and (chunk := os.read(fd, _CHUNK_BYTES)):
            data += chunk
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        raise UnknownUserError(f"the image's /{path} is too large", operation="user")
    return data.decode("utf-8", "surrogateescape")
