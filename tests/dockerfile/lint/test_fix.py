"""Corrections: what becomes of a file, and that nothing else becomes of it."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.instructions import AnyInstruction, Env, Expose, Label, Maintainer
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.fix import FixResult, fix
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.ports import parse_port
from imagekit.dockerfile.words import expand

_AUTHORS = "org.opencontainers.image.authors"


def _fix(text: str) -> FixResult:
    return fix(text, lint(text).findings)


def _fixed(text: str) -> str:
    return _fix(text).text


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        pytest.param("FROM scratch as b\n", "FROM scratch AS b\n", id="as"),
        pytest.param("from scratch AS b\n", "from scratch as b\n", id="as-lower"),
        pytest.param("FROM scratch AS Bui\n", "FROM scratch AS bui\n", id="stage-name"),
        pytest.param(
            "FROM --platform=$BUILDPLATFORM scratch as B\n",
            "FROM --platform=$BUILDPLATFORM scratch AS b\n",
            id="behind-a-flag",
        ),
        pytest.param(
            "FROM scratch \\\n  # why\n  as \\\n\tB # c\n".replace(" # c", ""),
            "FROM scratch \\\n  # why\n  AS \\\n\tb\n",
            id="over-several-lines",
        ),
        pytest.param("FROM a\nrun  x\n", "FROM a\nRUN  x\n", id="casing"),
        pytest.param("  From a aS b\nRUN x", "  FROM a AS b\nRUN x", id="casing-takes-as-along"),
        pytest.param("FROM a as b\nrun x\nrun y", "from a as b\nrun x\nrun y", id="as-is-right"),
        pytest.param("FROM a\nonbuild run x", "FROM a\nONBUILD run x", id="not-the-trigger"),
        pytest.param("FROM a\nru\\\nn x", "FROM a\nru\\\nn x", id="a-torn-keyword-stays"),
        pytest.param("FROM a\r\nrun x\r\n", "FROM a\r\nRUN x\r\n", id="line-ends-stay"),
        pytest.param("\ufeffFrom a\n", "\ufeffFROM a\n", id="byte-order-mark"),
        pytest.param("FROM a\nENV k v\n", "FROM a\nENV k=v\n", id="env"),
        pytest.param("FROM a\nENV k   v w  x \n", 'FROM a\nENV k="v w  x" \n', id="env-blanks"),
        pytest.param("FROM a\nENV k $v/$w\n", "FROM a\nENV k=$v/$w\n", id="env-variables"),
        pytest.param("FROM a\nENV k a $v\n", 'FROM a\nENV k="a $v"\n', id="env-quoted-variables"),
        pytest.param("FROM a\nENV k 'a b'\n", "FROM a\nENV k='a b'\n", id="env-quotes"),
        pytest.param(
            "FROM a\nENV k 'a b' \"c d\" e\n",
            "FROM a\nENV k='a b'\\ \"c d\"\\ e\n",
            id="env-quotes-and-blanks",
        ),
        pytest.param("FROM a\nENV k a\\ b c\n", "FROM a\nENV k=a\\ b\\ c\n", id="env-escapes"),
        pytest.param(
            "# escape=`\nFROM a\nENV k a` b c\n",
            "# escape=`\nFROM a\nENV k=a` b` c\n",
            id="other-escape",
        ),
        pytest.param("FROM a\nENV k it's\n", "FROM a\nENV k it's\n", id="env-unbalanced-stays"),
        pytest.param("FROM a\nENV k a=b c\n", 'FROM a\nENV k="a=b c"\n', id="env-equals"),
        pytest.param("FROM a\nENV k \\\n  v w\n", 'FROM a\nENV k="v w"\n', id="env-next-line"),
        pytest.param(
            "FROM a\nENV k v \\\n  w\n", 'FROM a\nENV k="v \\\n  w"\n', id="env-value-goes-on"
        ),
        pytest.param(
            "FROM a\nENV k \\\n# c\n v\n", "FROM a\nENV k \\\n# c\n v\n", id="env-comment-stays"
        ),
        pytest.param("FROM a\nlabel a.b c d\n", 'FROM a\nLABEL a.b="c d"\n', id="label"),
        pytest.param(
            "FROM a\nMAINTAINER Me <m@e>\n",
            f'FROM a\nLABEL {_AUTHORS}="Me <m@e>"\n',
            id="maintainer",
        ),
        pytest.param(
            'from a\nmaintainer "Me"\n', f'from a\nlabel {_AUTHORS}="Me"\n', id="quoted-author"
        ),
        pytest.param(
            'FROM a\nMAINTAINER a$b "c"\n',
            f"FROM a\nLABEL {_AUTHORS}='a$b \"c\"'\n",
            id="author-with-a-dollar",
        ),
        pytest.param(
            "FROM a\nMAINTAINER it's $b\n",
            f'FROM a\nLABEL {_AUTHORS}="it\'s \\$b"\n',
            id="author-with-everything",
        ),
        pytest.param(
            f"FROM a\nLABEL {_AUTHORS}=x\nMAINTAINER y\n",
            f"FROM a\nLABEL {_AUTHORS}=x\nMAINTAINER y\n",
            id="author-is-there",
        ),
        pytest.param(
            "FROM a\nMaintainer x\nRUN y\n", f'FROM a\nLABEL {_AUTHORS}="x"\nRUN y\n', id="mixed"
        ),
        pytest.param(
            "FROM a\nARG p=9\nEXPOSE 80/TCP 1-2/Udp $p/TCP\n",
            "FROM a\nARG p=9\nEXPOSE 80/tcp 1-2/udp $p/TCP\n",
            id="expose",
        ),
        pytest.param(
            "FROM a\nEXPOSE 1.2.3.4:80:81 90:91/UDP :92 93\n",
            "FROM a\nEXPOSE 81 91/udp :92 93\n",
            id="expose-mapping",
        ),
        pytest.param(
            "FROM a\nRUN x \\\n\n \t\n  # c\n y \\\n\n  z\n\nRUN x\n",
            "FROM a\nRUN x \\\n  # c\n y \\\n  z\n\nRUN x\n",
            id="blank-lines",
        ),
        pytest.param("FROM a\nRUN x \\\n\n", "FROM a\nRUN x \\\n", id="blank-line-at-the-end"),
        pytest.param(
            "FROM a\nRUN <<E \\\n\nx\n\nE\n",
            "FROM a\nRUN <<E \\\nx\n\nE\n",
            id="heredocs-stay",
        ),
        pytest.param("FROM a\nENV k \\\n\n v\n", "FROM a\nENV k=v\n", id="blank-line-in-a-gap"),
        pytest.param(
            "FROM a AS Bin\nFROM b\nCOPY --chown=1 --from=Bin /x /y\n"
            "RUN --mount=type=bind,From=BIN,target=/b x\nCOPY --from=Other a b\n",
            "FROM a AS bin\nFROM b\nCOPY --chown=1 --from=bin /x /y\n"
            "RUN --mount=type=bind,From=bin,target=/b x\nCOPY --from=Other a b\n",
            id="references",
        ),
    ],
)
def test_fix(text: str, fixed: str) -> None:
    assert _fixed(text) == fixed
    assert _fixed(fixed) == fixed


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCMD x\nCMD y\nWORKDIR z\nCOPY $x $y\nARG token\n",
        "FROM --platform=$TARGETPLATFORM x\n",
        "FROM x AS b\nFROM y AS b\nFROM z AS scratch\n",
        "BAD\n",
        "",
        "# check=skip=all\nFROM scratch as B\nrun x\nENV a b\n",
        "FROM scratch AS a\nONBUILD ENV a b\nONBUILD EXPOSE 80/TCP\nFROM a AS b\n",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    result = _fix(text)

    assert result.text == text
    assert result.edits == ()


def test_only_what_was_found_is_corrected() -> None:
    text = "FROM scratch as B\nrun x\nENV a b\n"
    findings = [one for one in lint(text).findings if one.rule == "LegacyKeyValueFormat"]

    assert fix(text, findings).text == "FROM scratch as B\nrun x\nENV a=b\n"


def test_edits_are_in_bytes_and_in_order() -> None:
    text = "# \u00e9\u20ac\nFROM scratch as B\nENV k \u00e4 \u00f6\n"

    result = _fix(text)

    assert [(edit.rule, edit.line, edit.replacement) for edit in result.edits] == [
        ("FromAsCasing", 2, "AS"),
        ("StageNameCasing", 2, "b"),
        ("LegacyKeyValueFormat", 3, '="'),
        ("LegacyKeyValueFormat", 3, '"'),
    ]
    assert _applied(text, result) == result.text


def test_bytes_that_are_no_text_stay() -> None:
    text = b"# \xff\nFROM scratch as b\n".decode("utf-8", "surrogateescape")

    assert _fixed(text).encode("utf-8", "surrogateescape") == b"# \xff\nFROM scratch AS b\n"


def _applied(text: str, result: FixResult) -> str:
    data = text.encode("utf-8", "surrogateescape")
    for edit in reversed(result.edits):
        data = data[: edit.start] + edit.replacement.encode() + data[edit.end :]
    return data.decode("utf-8", "surrogateescape")


class _EveryName(dict[str, str]):
    def get(self, key: str, _default: Any = None) -> str:
        return f"{key} {key}"


def _meaning(word: str, escape: str) -> list[str]:
    meanings: list[str] = []
    environments: list[dict[str, str]] = [{}, _EveryName()]
    for environment in environments:
        try:
            meanings.append(expand(word, environment, escape=escape))
        except DockerfileError as error:
            meanings.append(f"{type(error)} {word}")
    return meanings


def _essence(item: AnyInstruction, escape: str) -> Any:
    """An instruction without its spelling: what has to be the same after a correction."""
    origin = item.origin
    values: dict[str, Any] = _without_places(to_builtins(item))
    name: str = item.NAME
    if isinstance(item, Env | Label):
        values = {"pairs": [(_meaning(k, escape), _meaning(v, escape)) for k, v in item.pairs]}
        if isinstance(item, Label) and item.pairs[0][0] == _AUTHORS and len(item.pairs) == 1:
            name, values = "MAINTAINER", {"name": _meaning(item.pairs[0][1], escape)[0]}
    elif isinstance(item, Maintainer):
        author = item.name
        if len(author) > 1 and author[0] == author[-1] == '"' and '"' not in author[1:-1]:
            author = author[1:-1]
        values = {"name": author}
    elif isinstance(item, Expose):
        values = {"ports": sorted(_port(port) for port in item.ports)}
    for key in ("alias", "as_keyword", "from_"):
        if values.get(key) is not None:
            values[key] = values[key].lower()
    if "mounts" in values:
        values["mounts"] = [mount.lower() for mount in values["mounts"]]
    return name, origin.comments, values


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in ("span", "origin")}
        return {key: _without_places(one) for key, one in kept.items()}
    return [_without_places(one) for one in value] if isinstance(value, list | tuple) else value


def _port(word: str) -> str:
    try:
        return " ".join(parse_port(word).ports())
    except DockerfileError:
        return word.lower().rpartition(":")[2]


def _file_essence(text: str) -> Any:
    parsed = parse(text)
    return [
        [_essence(item, parsed.escape) for item in (stage.base, *stage.instructions)]
        for stage in parsed.stages
    ]


_BLANK = st.sampled_from([" ", "  ", "\t", " \\\n ", " \\\n# c\n", " \\\n\n", " \\ \r\n\r\n"])
_PIECE = st.sampled_from(
    ["a", "B", "$x", "${y:-z w}", "'q r'", '"s $t"', "\\ ", '\\"', "=", "\u00e9", "`", "it's", '"']
)
_VALUE = st.lists(st.one_of(_PIECE, _BLANK), min_size=1, max_size=6).map("".join)


def _keyword(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name, name, name.lower(), name.title()])


def _line(name: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(_keyword(name), *(part for one in arguments for part in (_BLANK, one))).map(
        "".join
    )


_FROM = _line(
    "FROM",
    st.sampled_from(["scratch", "alpine", "one", "One"]),
    st.sampled_from(["as", "AS", "As"]),
    st.sampled_from(["one", "One", "TWO", "t-3"]),
)
_LINE = st.one_of(
    _FROM,
    _line("ENV", st.sampled_from(["k", "K", "$k"]), _VALUE),
    _line("LABEL", st.sampled_from(["k", "a.b"]), _VALUE),
    _line("ENV", st.just("k=v"), st.just("w=x")),
    _line("MAINTAINER", _VALUE),
    _line("EXPOSE", st.sampled_from(["80/TCP", "1.2.3.4:80:81/Udp", "$p/TCP", ":8", "9:8"])),
    _line("RUN", st.just("a"), _VALUE),
    _line("COPY", st.sampled_from(["--from=One", "--from=TWO --link", "x"]), st.just("a b")),
    _line("RUN", st.just("--mount=from=One,target=/a"), st.just("x")),
    st.just("COPY <<E /x\na\n\nE"),
    st.just("# a comment"),
    st.just(""),
)


@st.composite
def _files(draw: st.DrawFn) -> str:
    top = draw(st.sampled_from(["", "", "# escape=`\n", "# check=skip=FromAsCasing\n"]))
    lines = draw(st.lists(_LINE, max_size=8))
    end = draw(st.sampled_from(["", "\n", "\r\n", " \\\n\n", " \\\n  "]))
    return (
        top + draw(st.sampled_from(["FROM scratch\n", "from x as One\n"])) + "\n".join(lines) + end
    )


@settings(deadline=None, max_examples=150)
@given(text=_files())
@example(text='FROM a\nENV k "a\n')
@example(text="FROM a\nENV k ${x:-a b}\n")
@example(text="FROM a\nENV k ${x#a b} c\n")
def test_a_correction_changes_nothing_else(text: str) -> None:
    try:
        before = _file_essence(text)
    except DockerfileError:
        assert _fixed(text) == text
        return

    result = _fix(text)

    assert _file_essence(result.text) == before
    assert _applied(text, result) == result.text
    assert _fixed(result.text) == result.text


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=80))
def test_any_text_is_looked_at_and_corrected_without_an_error(text: str) -> None:
    assert lint(text).file_name == "Dockerfile"
    assert isinstance(_fixed("FROM scratch\n" + text), str)
