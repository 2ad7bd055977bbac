import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.oci.digest import Digest
from imagekit.registry.endpoints import (
    Endpoints,
    is_loopback,
    next_page,
    resolve_location,
    same_origin,
    with_digest,
)
from imagekit.registry.errors import ProtocolError, error_of, redacted

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("r.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_location_is_relative_or_absolute_and_keeps_its_query() -> None:
    base = "http://r.example/v2/a/blobs/uploads/"

    assert resolve_location(base, "/v2/x?_state=1") == "http://r.example/v2/x?_state=1"
    assert resolve_location(base, "https://s.example/y") == "https://s.example/y"
    assert with_digest("http://r/x?_state=1", DIGEST).startswith(
        "http://r/x?_state=1&digest=sha256"
    )
    assert with_digest("http://r/x", DIGEST).startswith("http://r/x?digest=sha256")


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "ftp://x/y"])
def test_a_location_elsewhere_than_http_is_refused(location: str) -> None:
    with pytest.raises(ProtocolError):
        resolve_location("https://r.example/v2/", location)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('</v2/_catalog?n=1&last=a>; rel="next"', "https://r/v2/_catalog?n=1&last=a"),
        ("<https://r/x>;rel=next", "https://r/x"),
        ('</x>; rel="prev"', None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_the_next_page_is_in_the_link(link: str, expected: str | None) -> None:
    assert next_page("https://r/v2/_catalog", link) == expected


def test_origins_differ_by_scheme_host_and_port() -> None:
    assert same_origin("https://r/a", "https://r/b")
    assert not same_origin("https://r/a", "http://r/a")
    assert not same_origin("https://r/a", "https://r:444/a")


def test_addresses_follow_the_specification() -> None:
    endpoints = Endpoints.of("https://r", "a/b")

    assert endpoints.manifest("1.0") == "https://r/v2/a/b/manifests/1.0"
    assert endpoints.blob(DIGEST) == f"https://r/v2/a/b/blobs/{DIGEST}"
    assert endpoints.uploads() == "https://r/v2/a/b/blobs/uploads/"
    assert "mount=sha256%3A" in endpoints.uploads(**{"mount": str(DIGEST), "from": "c"})


def test_messages_hold_no_secret_of_an_address() -> None:
    assert redacted("https://ann:s3cret@r/x?sig=s3cret#s3cret") == "https://r/x"
    assert "s3cret" not in str(
        error_of(method="GET", url="https://a:s3cret@r/?s3cret", status=400, body=b"")
    )


@given(st.binary(), st.integers(400, 599))
def test_any_body_makes_an_error(body: bytes, status: int) -> None:
    assert error_of(method="GET", url="https://r/", status=status, body=body).status == status
