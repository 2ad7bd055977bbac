"""Expansion of words, documents and word lists."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import ExpansionError
from imagekit.dockerfile.words import expand, expand_document, expand_word, expand_words, lex_words

_ENVIRONMENT = {
    "PWD": "/home",
    "KOREAN": "\ud55c\uad6d\uc5b4",
    "NULL": "",
    "FOO": "xx",
    "PATH": "/tmp/a/b",
    "STAR": "a*b?c\\d",
    "LINES": "one\ntwo",
    "BLANKS": " a  b ",
    "1A": "never",
    "\u00e9t\u00e9": "summer",
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he'llo' there", "hello there"),
        (r"'he\llo'", r"he\llo"),
        (r"he\'llo", "he'llo"),
        (r"he\\'llo'", r"he\llo"),
        (r"abc\tdef", "abctdef"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r"'abc\tdef'", r"abc\tdef"),
        ("hello\\", "hello"),
        ('"hello"', "hello"),
        (r'"hel\"lo"', 'hel"lo'),
        (r'"hel\\lo"', r"hel\lo"),
        (r'"hel\$PWD"', "hel$PWD"),
        ('"hel\'lo"', "hel'lo"),
        ("'hel\"lo'", 'hel"lo'),
        ('""', ""),
        ("a<<b", "a<<b"),
        ("a << b", "a << b"),
        ("$", "$"),
        ("$.", "$."),
        ("a$ b", "a$ b"),
        ("$PWD", "/home"),
        ("he$PWD.txt", "he/home.txt"),
        ("${PWD}x", "/homex"),
        ("he\\$PWD", "he$PWD"),
        ("'$PWD'", "$PWD"),
        ('"$PWD"', "/home"),
        ("$KOREAN!", "\ud55c\uad6d\uc5b4!"),
        ("$\u00e9t\u00e9", "summer"),
        ("$UNDEFINED", ""),
        ("a$UNDEFINED.b", "a.b"),
        ("$1A", "A"),
        ("${1A}", None),
        ("$12x", "x"),
        ("${12}x", "x"),
        ("$@$*$#$?$-$!$0.", "."),
        ("$$PWD", "PWD"),
        ("${*}", ""),
        ("${}", None),
        ("${:x}", None),
        ("${{x}}", None),
        ("${", None),
        ("${PWD", None),
        ("${ }", None),
        ("${PWD:}", None),
        ("${PWD:=x}", None),
        ("${PWD=x}", None),
        ("${PWD!x}", None),
        ("${PWD:#x}", None),
        ("${PWD:%x}", None),
        ("${PWD:-x", None),
        # defaults and alternatives
        ("${PWD:-x}", "/home"),
        ("${NULL:-x}", "x"),
        ("${NULL-x}", ""),
        ("${GONE-x}", "x"),
        ("${GONE:-x}", "x"),
        ("${GONE:-$PWD}", "/home"),
        ("${GONE:-${ALSO:-z}}", "z"),
        ('${GONE:-"a b"}', "a b"),
        ("${GONE:-a\\}b}", "a}b"),
        ("${GONE:-'}'}", "}"),
        ("${PWD:+x}", "x"),
        ("${NULL:+x}", ""),
        ("${NULL+x}", "x"),
        ("${GONE+x}", ""),
        ("${GONE:+x}", ""),
        ("${PWD:?x}", "/home"),
        ("${NULL?x}", ""),
        ("${NULL:?x}", None),
        ("${GONE?x}", None),
        # trimming
        ("${PATH#*/}", "tmp/a/b"),
        ("${PATH##*/}", "b"),
        ("${PATH%/*}", "/tmp/a"),
        ("${PATH%%/*}", ""),
        ("${PATH%/?}", "/tmp/a"),
        ("${PATH#x}", "/tmp/a/b"),
        ("${PATH#}", "/tmp/a/b"),
        ("${GONE#x}", ""),
        ("${STAR#a\\*}", "b?c\\d"),
        ("${STAR%\\\\d}", "a*b?c"),
        ("${STAR#*\\?}", "c\\d"),
        ("${FOO#\\x}", None),
        ("${LINES#*}", "one\ntwo"),
        ("${LINES##*}", "\ntwo"),
        ("${LINES%%*}", "one\n"),
        ("${LINES#one?}", "one\ntwo"),
        ("${PATH#$GONE/t}", "mp/a/b"),
        # replacement
        ("${PATH/a/X}", "/tmp/X/b"),
        ("${PATH//\\//_}", "_tmp_a_b"),
        ("${PATH/\\//_}", "_tmp/a/b"),
        ("${PATH/t*a/X}", "/X/b"),
        ("${PATH//?/X}", "XXXXXXXX"),
        ("${PATH/a/}", "/tmp//b"),
        ("${PATH/a}", None),
        ("${PATH/a/b", None),
        ("${FOO//x/yy}", "yyyy"),
        ("${FOO/x/yy}", "yyx"),
        ("${FOO///-}", "-x-x-"),
        ("${FOO//*/-}", "-"),
        ("${GONE//a/b}", ""),
        ("${FOO/x/$PWD}", "/homex"),
        ("${PATH//\\//\\/}", "\\/tmp\\/a\\/b"),  # [Q]
        ("${FOO//x/'$1 'a}", " a a"),  # [Q] Go's template
        ("${FOO//x/'${name}'a}", "aa"),
        ("${FOO//x/'$$'}", "$$"),
        ("${FOO//x/'$0$0'}", "xxxx"),
        ("${FOO//x/'$00'}", ""),
        ("${FOO//x/'$.'}", "$.$."),
        ("${FOO//x/'${'}", "${${"),
        ("${FOO/x/'$1'}", "$1x"),
        ("'x", None),
        ('"x', None),
        ('"x\\', None),
        ("${GONE:-'x}", None),
    ],
)  # fmt: skip
def test_expand(word: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ExpansionError):
            expand(word, _ENVIRONMENT)
    else:
        assert expand(word, _ENVIRONMENT) == expected


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("'x", "unexpected end of statement while looking for matching single-quote"),
        ('"x', "unexpected end of statement while looking for matching double-quote"),
        ("${}", "syntax error: bad substitution"),
        ("${x", "syntax error: missing '}'"),
        ("${x:-y", "syntax error: missing '}'"),
        ("${x/y}", "syntax error: missing '/' in ${}"),
        ("${x/y/z", "syntax error: missing '}'"),
        ("${x:=y}", "unsupported modifier (:=) in substitution"),
        ("${x=y}", "unsupported modifier (=) in substitution"),
        ("${x:#y}", "unsupported modifier (:#) in substitution"),
        ("${x?}", "x: is not allowed to be unset"),
        ("${NULL:?}", "NULL: is not allowed to be empty"),
        ("${x?no $PWD}", "x: no /home"),
        ("${x:-${}y}z", "syntax error: bad substitution"),
        ("${FOO#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${FOO%x\\ab}", "invalid pattern (b\\ax) in substitution: invalid escape '\\a'"),
        ("${x:#y", "unsupported modifier (:#) in substitution"),
        ("${x:%y", "unsupported modifier (:%) in substitution"),
    ],
)
def test_reason(word: str, reason: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(word, _ENVIRONMENT)

    assert caught.value.reason.endswith(f": {reason}")
    assert caught.value.reason.startswith('failed to process "')


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a`$PWD", "a$PWD"),
        ("c:\\x", "c:\\x"),
        ('"`"a``"', '"a`'),
        ("\\$PWD", "\\/home"),
    ],
)
def test_other_escape_character(word: str, expected: str) -> None:
    assert expand(word, _ENVIRONMENT, escape="`") == expected


def test_names_are_told_apart() -> None:
    result = expand_word("$b $PWD ${a:-$c} $b", _ENVIRONMENT)

    assert result.used == ("PWD",)
    assert result.undefined == ("b", "c", "a")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("80", ("80",)),
        ("$BLANKS", ("a", "b")),
        ("1${BLANKS}2", ("1", "a", "b", "2")),
        ('"$BLANKS"', (" a  b ",)),
        ("a 'b c' d\\ e", ("a", "b c", "d e")),
        ("", ()),
        ('""', ()),
    ],
)
def test_words_split_after_expansion(word: str, expected: tuple[str, ...]) -> None:
    assert expand_words(word, _ENVIRONMENT) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RUN <<EOF", ("RUN", "<<EOF")),
        ("RUN << EOF x", ("RUN", "<< EOF", "x")),
        ("RUN <<- EOF", ("RUN", "<<-", "EOF")),
        ("RUN \"a b\" 'c d' e\\ f", ("RUN", '"a b"', "'c d'", "e\\ f")),
        ("a $x ${y} ${z:-w} ${v/a/b}", ("a", "$x", "${y}", "${z:-w}", "${v/a/b}")),
    ],
)
def test_lexing_keeps_quotes_and_variables(line: str, expected: tuple[str, ...]) -> None:
    assert lex_words(line) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("plain\n", "plain\n"),
        ("$PWD \"$PWD\" '$PWD'\n", "/home \"/home\" '/home'\n"),
        ("\\$PWD \\\\ \\n\n", "$PWD \\ n\n"),
        ("a\\\nb\n", "a\nb\n"),
        ("it's\n$GONE\n", "it's\n\n"),
    ],
)
def test_document(body: str, expected: str) -> None:
    assert expand_document(body, _ENVIRONMENT) == expected


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(ExpansionError, match="too deep"):
        expand("${a:-" * 5000 + "}" * 5000, {})


def test_values_that_double_are_an_error_before_they_fill_memory() -> None:
    environment = {"a": "x" * 1000}
    for _ in range(13):
        environment["a"] = expand("$a$a", environment)

    with pytest.raises(ExpansionError, match="a: the result is longer than 16777216 characters"):
        expand("$a$a$a", environment)


def test_replacements_that_grow_are_an_error_before_they_fill_memory() -> None:
    with pytest.raises(ExpansionError, match="longer than"):
        expand("${a//x/$b}", {"a": "x" * 60_000, "b": "y" * 60_000})


@pytest.mark.parametrize("pattern", ["*x", "a*x", "*a" * 40 + "x", "a*a*a*a*x", "?" * 60 + "x"])
@pytest.mark.parametrize("form", ["${v#%s}", "${v##%s}", "${v%%%s}", "${v//%s/-}", "${v/%s/-}"])
@pytest.mark.timeout(5)
def test_time_grows_with_the_value_only(form: str, pattern: str) -> None:
    assert expand(form % pattern, {"v": "a" * 300_000}) == "a" * 300_000


def test_nested_expansion_is_linear() -> None:
    word = "${a:-" * 150 + "x" + "}" * 150

    assert expand(word * 100, {}) == "x" * 100


def test_many_stars_do_not_take_for_ever() -> None:
    assert expand("${v##" + "*a" * 40 + "b}", {"v": "a" * 2000}) == "a" * 2000


_PIECES = st.sampled_from(
    [
        "$",
        "{",
        "}",
        "'",
        '"',
        "\\",
        "a",
        "x",
        ":",
        "-",
        "+",
        "?",
        "#",
        "%",
        "/",
        "*",
        " ",
        "<",
        "\n",
    ]
)


@given(st.lists(_PIECES, max_size=25).map("".join))
@example("${x//a/$")
def test_only_expansion_errors_are_raised(word: str) -> None:
    for call in (expand, expand_words):
        with suppress(ExpansionError):
            call(word, {"x": "aa", "a": ""})
    with suppress(ExpansionError):
        lex_words(word)
    with suppress(ExpansionError):
        expand_document(word, {"x": "aa"})


@given(st.text())
def test_single_quotes_are_transparent(text: str) -> None:
    text = text.replace("'", "")

    assert expand(f"'{text}'", {}) == text


@given(st.text())
def test_escaped_text_expands_to_itself(text: str) -> None:
    assert expand("".join("\\" + character for character in text), {}) == text


@given(st.text(), st.text())
def test_values_are_not_expanded_again(value: str, other: str) -> None:
    assert expand("${v}", {"v": value, "w": other}) == value
    assert expand('"$v"', {"v": value}) == value
