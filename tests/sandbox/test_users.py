import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.sandbox.errors import UnknownUserError
from imagekit.sandbox.users import (
    GroupEntry,
    Identity,
    PasswdEntry,
    identify,
    parse_group,
    parse_passwd,
    resolve_user,
)

PASSWD = parse_passwd("root:x:0:0::/root:/bin/sh\nbob:x:1000:1001::/home/bob:\n1000:x:7:7::/:\n")
GROUP = parse_group("root:x:0:\nbob:x:1001:\nwheel:x:10:root,bob\nstaff:x:50:bob,\n")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (0, 10), "/root")),
        ("root", Identity(0, 0, (0, 10), "/root")),
        ("bob", Identity(1000, 1001, (1001, 10, 50), "/home/bob")),
        ("1000", Identity(1000, 1001, (1001, 10, 50), "/home/bob")),
        ("bob:wheel", Identity(1000, 10, (10,), "/home/bob")),
        ("bob:5", Identity(1000, 5, (5,), "/home/bob")),
        ("4000", Identity(4000, 0, (0,), "/")),
        ("4000:staff", Identity(4000, 50, (50,), "/")),
        (":staff", Identity(0, 50, (50,), "/root")),
        ("4294967294", Identity(4294967294, 0, (0,), "/")),
    ],
)
def test_identify(user: str, expected: Identity) -> None:
    assert identify(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["eve", "bob:eve", "4294967295", "0:4294967295", "9" * 5000, "-1"])
def test_wrong_users_are_refused(user: str) -> None:
    with pytest.raises(UnknownUserError):
        identify(user, PASSWD, GROUP)


def test_root_needs_no_passwd() -> None:
    assert identify("root:root", [], []) == Identity(0, 0, (0,), "/root")


def test_extra_groups_are_added() -> None:
    assert identify("bob", PASSWD, GROUP, ("root", "77")).groups == (1001, 10, 50, 0, 77)


def test_malformed_lines_are_ignored() -> None:
    text = "\n# comment\na:b\n:x:0:0::/:\nx:x:-1:0::/:\ny:x:1:2:gecos:/y:/sh\nz:x:99999999999:0::/:"

    assert parse_passwd(text) == [PasswdEntry("y", 1, 2, "/y")]
    assert parse_group("a:b\nbad:x:n:\ng:x:5:m,,n\n") == [GroupEntry("g", 5, ("m", "n"))]


@given(st.text(), st.text(), st.text())
def test_only_its_own_error_is_raised(user: str, passwd: str, group: str) -> None:
    try:
        identity = identify(user, parse_passwd(passwd), parse_group(group))
    except UnknownUserError:
        return
    assert 0 <= identity.uid < 2**32 - 1
    assert 0 <= identity.gid < 2**32 - 1


def test_files_are_read_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/passwd").write_text("amy:x:5:6::/amy:\n")
    (tmp_path / "etc").symlink_to("/real")
    fd = os.open(tmp_path, os.O_PATH)

    assert resolve_user(fd, "amy") == Identity(5, 6, (6,), "/amy")
    os.close(fd)
