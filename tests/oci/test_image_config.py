"""Image configs and chain ids."""

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.image_config import (
    ContainerConfig,
    Healthcheck,
    History,
    ImageConfig,
    chain_ids,
    next_chain_id,
)
from imagekit.oci.platform import Platform

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLATFORM = Platform("linux", "amd64")
TEXT = st.text(max_size=5)
WORDS = st.none() | st.lists(TEXT, max_size=3).map(tuple)
SETS: st.SearchStrategy[dict[str, dict[str, str]] | None] = st.none() | st.dictionaries(
    TEXT, st.just({}), min_size=1, max_size=3
)
CONTAINER_CONFIGS = st.builds(
    ContainerConfig,
    user=TEXT,
    exposed_ports=SETS,
    env=WORDS,
    entrypoint=WORDS,
    cmd=WORDS,
    healthcheck=st.none() | st.builds(Healthcheck, interval_ns=st.integers(0, 2**60)),
    volumes=SETS,
    working_dir=TEXT,
    on_build=WORDS,
    labels=st.none() | st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
    stop_signal=TEXT,
    shell=WORDS,
)
CONFIGS = st.builds(
    ImageConfig,
    platform=st.sampled_from([PLATFORM, Platform("linux", "arm", "v7", "1")]),
    config=CONTAINER_CONFIGS,
    diff_ids=st.lists(st.binary(max_size=4).map(Digest.of), max_size=3).map(tuple),
    history=st.lists(st.builds(History, created_by=TEXT, empty_layer=st.booleans())).map(tuple),
    created=st.none() | TEXT,
    author=TEXT,
)


@CALM
@given(CONFIGS)
def test_json_is_read_back(config: ImageConfig) -> None:
    raw = config.to_json()

    assert ImageConfig.parse(raw) == config
    assert ImageConfig.parse(raw).to_json() == raw


def test_equal_values_give_equal_bytes() -> None:
    def made(names: list[str]) -> bytes:
        config = ContainerConfig(
            labels=dict.fromkeys(names, "x"),
            exposed_ports={name: {} for name in names},
            volumes={name: {} for name in names},
        )
        return ImageConfig(platform=PLATFORM, config=config).to_json()

    assert made(["a", "b"]) == made(["b", "a"])


def test_field_names_are_those_of_the_specification() -> None:
    config = ImageConfig(
        platform=PLATFORM,
        config=ContainerConfig(
            user="u",
            exposed_ports={"80/tcp": {}},
            env=("A=b",),
            entrypoint=("e",),
            cmd=("c",),
            healthcheck=Healthcheck(test=("CMD", "x"), interval_ns=1, retries=2),
            volumes={"/v": {}},
            working_dir="/w",
            on_build=("RUN x",),
            labels={"l": "1"},
            stop_signal="SIGINT",
            shell=("sh",),
        ),
        history=(History(created="t", created_by="b", author="a", comment="c", empty_layer=True),),
        created="2024-01-01T00:00:00Z",
        author="Ann",
    )

    assert json.loads(config.to_json()) == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "author": "Ann",
        "config": {
            "User": "u",
            "ExposedPorts": {"80/tcp": {}},
            "Env": ["A=b"],
            "Entrypoint": ["e"],
            "Cmd": ["c"],
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1, "Retries": 2},
            "Volumes": {"/v": {}},
            "WorkingDir": "/w",
            "OnBuild": ["RUN x"],
            "Labels": {"l": "1"},
            "StopSignal": "SIGINT",
            "Shell": ["sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [
            {"created": "t", "created_by": "b", "author": "a", "comment": "c", "empty_layer": True}
        ],
    }


def test_nulls_of_docker_are_nothing() -> None:
    raw = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": None, "Env": None, "Labels": None, "Volumes": None},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": None,
            "container_config": {"Hostname": "x"},
            "docker_version": "20.10",
        }
    ).encode()

    assert ImageConfig.parse(raw) == ImageConfig(platform=PLATFORM)


def test_a_config_without_most_fields() -> None:
    config = ImageConfig.parse(b'{"architecture":"x86_64"}')

    assert config.platform == PLATFORM
    assert (config.diff_ids, config.history, config.chain_id) == ((), (), None)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"rootfs": {"type": "tar", "diff_ids": []}}, "rootfs of type 'tar'"),
        ({"rootfs": {"type": "layers", "diff_ids": ["latest"]}}, "invalid digest"),
        ({"rootfs": {"type": "layers"}}, "diff_ids"),
        ({"config": {"Env": ["A=b", 1]}}, "$.config.Env[1]"),
        ({"config": []}, "$.config"),
        ({"history": {}}, "$.history"),
    ],
)
def test_what_is_no_config_says_where(fields: dict[str, object], part: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        ImageConfig.parse(json.dumps(fields).encode())

    assert part in caught.value.message


def test_chain_ids_are_those_of_the_specification() -> None:
    one, two, three = (Digest.of(text) for text in (b"1", b"2", b"3"))
    second = Digest("sha256", hashlib.sha256(f"{one} {two}".encode()).hexdigest())
    third = Digest("sha256", hashlib.sha256(f"{second} {three}".encode()).hexdigest())

    assert chain_ids([one, two, three]) == (one, second, third)
    assert chain_ids([]) == ()
    assert next_chain_id(None, one) == one
    assert ImageConfig(platform=PLATFORM, diff_ids=(one, two, three)).chain_id == third


def test_one_more_layer() -> None:
    config = ImageConfig(platform=PLATFORM, diff_ids=(Digest.of(b"1"),), history=(History(),))

    more = config.with_layer(Digest.of(b"2"), History(comment="two"))

    assert more.diff_ids == (Digest.of(b"1"), Digest.of(b"2"))
    assert [entry.comment for entry in more.history] == ["", "two"]
    assert config.diff_ids == (Digest.of(b"1"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
FIELDS = ("architecture", "os", "variant", "config", "rootfs", "history", "created", "os.version")


@CALM
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_a_config_or_its_own_error(fields: dict[str, object]) -> None:
    try:
        config = ImageConfig.parse(json.dumps(fields).encode())
    except InvalidDocumentError:
        return
    assert ImageConfig.parse(config.to_json()) == config
