"""RUN --mount."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import DockerfileError, ExpansionError, MountError
from imagekit.dockerfile.mounts import (
    CacheSharing,
    MountKind,
    RunMount,
    mount_source,
    mount_target,
    resolve_mount,
    resolve_mounts,
)


def _resolve(value: str, workdir: str = "/w") -> RunMount:
    return resolve_mount(value, {"x": "value", "dir": "/d"}, workdir=workdir)


_CSV = "failed to parse csv mounts: parse error on line 1, column "


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("target=/x", RunMount(kind=MountKind.BIND, target="/x")),
        ("dst=x", RunMount(kind=MountKind.BIND, target="/w/x")),
        ("type=bind", RunMount(kind=MountKind.BIND, target="/w")),
        ("destination=$dir/../y/,src=/s,from=st,RW",
         RunMount(kind=MountKind.BIND, target="/y", source="/s", from_="st", read_only=False)),
        ("type=bind,target=/x,readonly=false",
         RunMount(kind=MountKind.BIND, target="/x", read_only=False)),
        ("type=bind,target=/x,readwrite=false", RunMount(kind=MountKind.BIND, target="/x")),
        ("type=cache,target=/x/",
         RunMount(kind=MountKind.CACHE, target="/x", id="/x", read_only=False, mode=0o755, uid=0,
                  gid=0)),
        ("type=cache,target=rel",
         RunMount(kind=MountKind.CACHE, target="/w/rel", id="rel", read_only=False, mode=0o755,
                  uid=0, gid=0)),
        ("type=Cache,id=$x,target=/c,sharing=LOCKED,mode=0700,uid=1,gid=2,ro,from=a,source=b",
         RunMount(kind=MountKind.CACHE, target="/c", id="value", sharing=CacheSharing.LOCKED,
                  mode=0o700, uid=1, gid=2, from_="a", source="b")),
        ("type=tmpfs,target=/t,size=64m",
         RunMount(kind=MountKind.TMPFS, target="/t", size_bytes=64 << 20, read_only=False)),
        ("type=tmpfs,target=/t,from=ignored",
         RunMount(kind=MountKind.TMPFS, target="/t", read_only=False)),
        ("type=secret,id=a/b",
         RunMount(kind=MountKind.SECRET, target="/run/secrets/b", id="a/b", mode=0o400, uid=0,
                  gid=0)),
        ("type=secret,target=/etc/token",
         RunMount(kind=MountKind.SECRET, target="/etc/token", id="token", mode=0o400, uid=0,
                  gid=0)),
        ("type=secret,src=k,env=K,required",
         RunMount(kind=MountKind.SECRET, target=None, id="k", env="K", required=True, mode=0o400,
                  uid=0, gid=0)),
        ("type=secret,id=k,env=K,target=/k,mode=0444,required=false",
         RunMount(kind=MountKind.SECRET, target="/k", id="k", env="K", mode=0o444, uid=0, gid=0)),
        ("type=ssh",
         RunMount(kind=MountKind.SSH, target=None, id="default", mode=0o600, uid=0, gid=0)),
        ("type=ssh,id=gh,target=/s,required=1,uid=5",
         RunMount(kind=MountKind.SSH, target="/s", id="gh", required=True, mode=0o600, uid=5,
                  gid=0)),
        ('"target=/a,b"', RunMount(kind=MountKind.BIND, target="/a,b")),
        ('target=/x,"source=""a, b"""',
         RunMount(kind=MountKind.BIND, target="/x", source="a, b")),
    ],
)  # fmt: skip
def test_resolve(value: str, expected: RunMount) -> None:
    assert _resolve(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("type=volume,target=/x", 'unsupported mount type "volume"'),
        ("type=cahce,target=/x", 'unsupported mount type "cahce" (did you mean cache?)'),
        ("target=/", 'invalid mount target "/"'),
        ("target=/a/..", 'invalid mount target "/"'),
        ("targt=/x", "unexpected key 'targt' in 'targt=/x' (did you mean target?)"),
        ("target=/x,foobar=y", "unexpected key 'foobar' in 'foobar=y'"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("nonsense", "invalid field 'nonsense' must be a key=value pair"),
        ("required,type=secret,id=x", "unexpected key 'required' for mount type 'bind'"),  # [Q]
        ("size=1,type=tmpfs,target=/x", "unexpected key 'size' for mount type 'bind'"),
        ("target=/x,mode=0755", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/x,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("target=/x,gid=1", 'gid not allowed for "bind" type mounts'),
        ("target=/x,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=cache,target=/x,sharing=mine", 'unsupported sharing value "mine"'),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=ssh,source=a", "ssh does not support source"),
        ("type=cache,target=/x,mode=8", "invalid value 8 for mode"),
        ("type=cache,target=/x,uid=-1", "invalid value -1 for uid"),
        ("type=cache,target=/x,uid=4294967296", "invalid value 4294967296 for uid"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ("target=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=secret,id=x,sharing=shared", "secret mount should not define sharing"),
        (
            'a"b',
            _CSV + '2: bare " in non-quoted-field',
        ),
        (
            '"ab',
            _CSV + '2: extraneous or missing " in quoted-field',
        ),
        (
            '"a"b',
            _CSV + '3: extraneous or missing " in quoted-field',
        ),
        ("", "failed to parse csv mounts: EOF"),
        ("type=tmpfs,target=/x,size=1ki", "invalid value for size: 1ki"),
        ("type=tmpfs,target=/x,size=1ib", "invalid value for size: 1ib"),
    ],
)
def test_refused(value: str, reason: str) -> None:
    with pytest.raises(MountError) as caught:
        _resolve(value, workdir="/")

    assert caught.value.reason == reason


def test_target_that_is_the_root_work_directory_is_refused() -> None:
    with pytest.raises(MountError):
        _resolve("source=x", workdir="/")


def test_values_are_expanded_but_not_from() -> None:
    assert _resolve("target=/$x,source=${x}").source == "value"
    assert _resolve("target=/x,from='a'").from_ == "'a'"
    with pytest.raises(ExpansionError):
        _resolve("target=${")


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("target=/x", None),
        ("from=a", "a"),
        ("FROM=a,from=b", "b"),
        ("from=", None),
        ("from=a$", "a$"),
    ],
)
def test_source_without_expansion(value: str, source: str | None) -> None:
    assert mount_source(value) == source


def test_variable_in_from() -> None:
    with pytest.raises(MountError, match="doesn't support variable expansion"):
        mount_source("from=$a")


def test_target_as_written() -> None:
    assert mount_target("type=bind,dst=$a/b") == "$a/b"
    assert mount_target("type=ssh") == ""


def test_several_keep_their_order() -> None:
    mounts = resolve_mounts(("target=/b", "target=/a"), {}, workdir="/")

    assert [mount.target for mount in mounts] == ["/b", "/a"]


_KEYS = st.sampled_from(
    ["type", "target", "source", "from", "id", "sharing", "size", "mode", "uid", "required", "ro"]
)
_VALUES = st.sampled_from(
    ["", "bind", "cache", "tmpfs", "secret", "ssh", "/x", "1", "true", "$x", '"']
)


@given(st.lists(st.tuples(_KEYS, _VALUES).map("=".join) | _KEYS | st.text(max_size=5), max_size=6))
def test_only_dockerfile_errors(fields: list[str]) -> None:
    value = ",".join(fields)
    with suppress(DockerfileError):
        mount_source(value)
    with suppress(DockerfileError):
        mount = _resolve(value)
        assert mount.target is None or (mount.target.startswith("/") and mount.target != "/")


def test_values_are_expanded_before_their_key_is_looked_at() -> None:
    with pytest.raises(ExpansionError):
        resolve_mount("wrong=${x", {}, workdir="/")
