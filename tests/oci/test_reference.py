"""Image references."""

import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.reference import Reference

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEX = "0123456789abcdef" * 4
DIGEST = Digest("sha256", HEX)

WORDS = st.text("abz019", min_size=1, max_size=4)
SEPARATORS = st.sampled_from([".", "_", "__", "-", "---"])
COMPONENTS = st.builds(
    lambda first, more: first + "".join(separator + word for separator, word in more),
    WORDS,
    st.lists(st.tuples(SEPARATORS, WORDS), max_size=2),
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
DOMAINS = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000", "quay.io", "A-b.C:1"]
)
TAGS = st.builds(str.__add__, st.sampled_from("aZ0_"), st.text("aZ0_.-", max_size=8))
DIGESTS = st.binary(max_size=4).map(Digest.of)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    domain, path = draw(DOMAINS), draw(PATHS)
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Reference(domain, path, draw(st.none() | TAGS), draw(st.none() | DIGESTS))


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian", "debian"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("library/debian", "docker.io/library/debian", "debian"),
        ("team/app:1", "docker.io/team/app:1", "team/app:1"),
        ("docker.io/debian", "docker.io/library/debian", "debian"),
        ("index.docker.io/team/app", "docker.io/team/app", "team/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("[::1]:5000/a/b", "[::1]:5000/a/b", "[::1]:5000/a/b"),
        ("[::1]/a", "[::1]/a", "[::1]/a"),
        ("HOST/app", "HOST/app", "HOST/app"),
        ("a__b/c-----d.e", "docker.io/a__b/c-----d.e", "a__b/c-----d.e"),
        (f"app@sha256:{HEX}", f"docker.io/library/app@sha256:{HEX}", f"app@sha256:{HEX}"),
        (f"r.io/a:1@sha256:{HEX}", f"r.io/a:1@sha256:{HEX}", f"r.io/a:1@sha256:{HEX}"),
    ],
)
def test_names_are_completed_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)

    assert str(reference) == full
    assert reference.familiar() == familiar


@pytest.mark.parametrize(
    ("text", "part", "hint"),
    [
        ("", "bad repository name", None),
        ("/app", "bad repository name", None),
        ("app/", "bad repository name", None),
        ("a//b", "bad repository name", None),
        ("../etc", "bad registry '..'", None),
        ("Team/App", "bad repository name 'App'", "Repository names are lower case: 'app'."),
        ("team/App", "bad repository name", "Repository names are lower case: 'team/app'."),
        ("app:", "bad tag ''", None),
        ("app:-x", "bad tag '-x'", None),
        ("app:" + "x" * 129, "bad tag", "A tag has at most 128"),
        ("app:1\n", "bad tag", None),
        ("app\n", "bad repository name", None),
        ("app@sha256:12", "invalid digest", None),
        ("app@", "invalid digest", None),
        ("app@md5:" + "0" * 32, "invalid digest", None),
        (HEX, "are an image id", None),
        ("-bad.io/app", "bad registry", None),
        ("bad..io/app", "bad registry", None),
        ("host:port/app", "bad registry", None),
        ("https://r.io/app", "bad registry", None),
        ("a___b", "bad repository name", None),
        ("r.io/" + "a" * 255, "more than 255", None),
        ("ünï", "bad repository name", None),
    ],
)
def test_wrong_names_say_which_part(text: str, part: str, hint: str | None) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)

    assert part in caught.value.message
    if hint is not None:
        assert caught.value.hint is not None
        assert hint in caught.value.hint


@CALM
@given(references())
def test_str_is_read_back(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@CALM
@given(references())
def test_the_familiar_form_is_read_back(reference: Reference) -> None:
    assert Reference.parse(reference.familiar()) == reference


@CALM
@given(st.text(max_size=80) | st.text("aA0.:/@-_[]" + string.whitespace, max_size=40))
@example("docker.io/")
@example("docker.io/localhost/app")
@example("library/localhost/app")
@example("docker.io/some.dotted/app")
@example(f"docker.io/library/{HEX}")
@example("docker.io/library/[::1]")
def test_any_text_is_a_reference_or_its_own_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference


def test_the_default_tag() -> None:
    assert Reference.parse("app").with_default_tag().tag == "latest"
    assert Reference.parse("app:1").with_default_tag().tag == "1"
    assert Reference.parse(f"app@{DIGEST}").with_default_tag().tag is None


def test_parts() -> None:
    reference = Reference.parse(f"app:1@{DIGEST}")

    assert reference.repository == "docker.io/library/app"
    assert reference.with_tag("2") == Reference("docker.io", "library/app", "2")
    assert reference.api_host == "registry-1.docker.io"
    assert Reference.parse("r.io:5000/app").api_host == "r.io:5000"
