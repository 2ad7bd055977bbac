from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.cli import parsing


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("100", 100),
        ("100b", 100),
        ("64k", 65536),
        ("512m", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5g", 3 << 29),
        ("2T", 2 << 40),
        (" 1 g ", 1 << 30),
    ],
)
def test_sizes_count_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert parsing.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1mm", "1,5g", "0x10", "1..2"])
def test_other_sizes_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 512m"):
        parsing.parse_size(text)


def test_swap_may_be_unlimited() -> None:
    assert parsing.parse_swap("-1") == -1
    assert parsing.parse_swap("1g") == 1 << 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("1.5s", 1.5), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("1d", 86400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parsing.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "-5", "1.5", "10 minutes"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 10s"):
        parsing.parse_duration(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "two", ""])
def test_impossible_numbers_of_cpus_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number of CPUs"):
        parsing.parse_cpus(text)


def test_pairs_keep_further_equals_signs() -> None:
    assert parsing.parse_pair("A=b=c") == ("A", "b=c")
    assert parsing.parse_label("A") == ("A", "")


def test_a_bare_key_takes_its_value_from_the_environment() -> None:
    pairs = parsing.fill_from({"B": "2"}, ["A=1", "B", "UNSET", "C="])

    assert pairs == (("A", "1"), ("B", "2"), ("C", ""))


def test_env_files_keep_quotes_and_skip_comments() -> None:
    text = '# comment\n\nA="quoted"\n  B=2  \nC\nUNSET\n'

    pairs = parsing.parse_env_file(text, {"C": "3"})

    assert pairs == (("A", '"quoted"'), ("B", "2  "), ("C", "3"))


def test_an_env_file_error_names_the_line() -> None:
    with pytest.raises(ValueError, match=r"line 2: .*A B=1"):
        parsing.parse_env_file("X=1\nA B=1\n", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("./x:/y", "{cwd}/x:/y"),
        (".:/y:ro", "{cwd}:/y:ro"),
        ("/x:/y", "/x:/y"),
        ("name:/y", "name:/y"),
        ("/y", "/y"),
    ],
)
def test_relative_volume_sources_become_absolute(text: str, expected: str, tmp_path: Path) -> None:
    directory = tmp_path.resolve()

    assert parsing.absolute_source(text, directory) == expected.format(cwd=directory)


def test_mount_of_a_directory() -> None:
    mount = parsing.parse_mount("type=bind,source=/a,target=/b,readonly")

    assert mount == parsing.MountText(kind="bind", source="/a", target="/b", read_only=True)


def test_mount_of_memory_with_a_size() -> None:
    mount = parsing.parse_mount("type=tmpfs,dst=/b,tmpfs-size=64m")

    assert mount == parsing.MountText(
        kind="tmpfs", source="", target="/b", read_only=False, size_bytes=64 << 20
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("type=bind,target=/b", "needs source"),
        ("type=bind,source=/a", "target=/absolute/path is missing"),
        ("type=disk,target=/b", "bind, volume or tmpfs"),
        ("type=tmpfs,source=/a,target=/b", "has no source"),
        ("typ=bind", "unknown field 'typ'"),
        ("type=bind,,", "empty field"),
    ],
)
def test_wrong_mounts_say_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parsing.parse_mount(text)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ("80",)),
        ("8080:80", ("8080:80",)),
        ("127.0.0.1:8080:80/tcp", ("127.0.0.1:8080:80/tcp",)),
        ("8000-8001:80-81", ("8000:80", "8001:81")),
        ("80-81", ("80", "81")),
        ("1.2.3.4:8000-8001:80-81/tcp", ("1.2.3.4:8000:80/tcp", "1.2.3.4:8001:81/tcp")),
    ],
)
def test_port_ranges_become_ports(text: str, ports: tuple[str, ...]) -> None:
    assert parsing.expand_ports(text) == ports


@pytest.mark.parametrize("text", ["80-82:80-81", "82-80:82-80", "a-b:1-2", "1-99999"])
def test_wrong_port_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        parsing.expand_ports(text)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("db:10.0.0.1", ("db", "10.0.0.1")),
        ("db=10.0.0.1", ("db", "10.0.0.1")),
        ("db:::1", ("db", "::1")),
        ("db=[::1]", ("db", "::1")),
    ],
)
def test_hosts(text: str, pair: tuple[str, str]) -> None:
    assert parsing.parse_add_host(text) == pair


@pytest.mark.parametrize("text", ["db", ":1.2.3.4", "db:", "db:not-an-address"])
def test_wrong_hosts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parsing.parse_add_host(text)


@given(st.text())
def test_every_parser_raises_value_error_only(text: str) -> None:
    parsers = (
        parsing.parse_size,
        parsing.parse_swap,
        parsing.parse_duration,
        parsing.parse_cpus,
        parsing.parse_pair,
        parsing.parse_label,
        parsing.parse_fields,
        parsing.parse_mount,
        parsing.expand_ports,
        parsing.parse_add_host,
        lambda value: parsing.parse_env_file(value, {}),
    )
    for parse in parsers:
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017  the text is what the user sees
