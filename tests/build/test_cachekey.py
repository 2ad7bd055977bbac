"""Keys are framed, and a miss is told in the user's words."""

from hypothesis import given
from hypothesis import strategies as st

from imagekit.build.cachekey import cache_key, explain_miss, operation_digest, printable
from imagekit.oci.digest import Digest

PARENT = Digest.of(b"parent")
texts = st.text(st.characters(codec="utf-8"), max_size=8)
inputs = st.dictionaries(texts, texts, max_size=4)


@given(inputs, inputs)
def test_only_equal_inputs_have_equal_digests(one: dict[str, str], two: dict[str, str]) -> None:
    assert (operation_digest(one) == operation_digest(two)) is (one == two)


def test_names_and_values_cannot_be_shifted() -> None:
    assert operation_digest({"ab": "c"}) != operation_digest({"a": "bc"})
    assert operation_digest({"a": "1", "b": "2"}) != operation_digest({"a": "1b2"})
    assert operation_digest({"a": "1", "b": "2"}) == operation_digest({"b": "2", "a": "1"})


def test_key_depends_on_both_parts() -> None:
    keys = {cache_key(PARENT, "x"), cache_key(PARENT, "y"), cache_key(None, "x")}
    assert len(keys) == 3


def test_bytes_that_are_not_utf8_have_a_digest_and_a_face() -> None:
    assert operation_digest({"file \udce9": ""}) != operation_digest({"file \udcea": ""})
    assert printable("caf\udce9") == "caf\ufffd"


class TestExplain:
    def test_first(self) -> None:
        assert explain_miss({}, None, None, None) == "first build of this step"

    def test_new_gone_and_changed_in_order(self) -> None:
        reason = explain_miss(
            {"b": "2", "c": "3", "same": "x"}, PARENT, {"a": "1", "b": "1", "same": "x"}, "any"
        )
        assert reason == "a is gone; b changed (1 -> 2); c is new"

    def test_many_are_counted(self) -> None:
        now = {f"file {n}": "x" for n in range(5)}
        assert explain_miss(now, None, {}, None).endswith("and 2 more")

    def test_parent_and_lost_result(self) -> None:
        assert "another result" in explain_miss({"a": "1"}, PARENT, {"a": "1"}, "other")
        assert "gone" in explain_miss({"a": "1"}, PARENT, {"a": "1"}, str(PARENT))
        assert "gone" in explain_miss({"a": "1"}, None, {"a": "1"}, "scratch")

    def test_digests_are_shortened(self) -> None:
        reason = explain_miss({"f": str(PARENT)}, None, {"f": str(Digest.of(b"x"))}, None)
        assert len(reason) < 60
