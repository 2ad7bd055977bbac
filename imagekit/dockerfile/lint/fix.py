"""``--fix``: the corrections that change nothing but the finding.

The file is edited where it must be and nowhere else: comments, indentation, line ends and odd
spellings that nobody complained of stay. What a finding is about is left alone when the words
cannot be found for certain, or when the new text could mean something else. MAINTAINER is the one
correction that changes the image: the author moves to a label.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.instructions import AnyInstruction, Label
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.findings import Finding
from imagekit.dockerfile.lint.pairs import author_label, pair_text
from imagekit.dockerfile.lint.places import Located, Places, find_word
from imagekit.dockerfile.lint.written import majority_is_lower
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.statements import Statement, read_statements

_AUTHORS = "org.opencontainers.image.authors"
_COPY_FROM = "--from="
_MOUNT = "--mount="
_NOT_PLAIN = "$'\"\\`"


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes ``start`` to ``end`` (exclusive) of the file in UTF-8, and what to put there.

    ``rule`` is the finding that it answers, ``line`` the 1-based line where it begins.
    """

    rule: str
    start: int
    end: int
    replacement: str
    line: int


class FixResult(msgspec.Struct, frozen=True, kw_only=True):
    """The corrected ``text``, and the edits to the original in order, which do not overlap."""

    text: str
    edits: tuple[Edit, ...] = ()


def fix(text: str, findings: Iterable[Finding]) -> FixResult:
    """Return ``text`` with those of its ``findings`` corrected that can be corrected safely.

    ``findings`` are those of linting this very text. Correcting the result again, with its own
    findings, changes nothing. A file that does not parse is returned as it is. Bytes that are not
    UTF-8 are surrogate escapes, here as in ``lint``.
    """
    wanted: dict[int, set[str]] = {}
    for finding in findings:
        wanted.setdefault(finding.span.first_line, set()).add(finding.rule)
    try:
        dockerfile = parse(text)
    except DockerfileError:
        return FixResult(text=text)
    fixer = _Fixer(text, dockerfile)
    renamed = {
        stage.name
        for stage in dockerfile.stages
        if stage.name and rules.STAGE_NAME_CASING.name in wanted.get(stage.base.span.first_line, ())
    }
    for statement in read_statements(SourceReader(text, file_name=dockerfile.file_name)):
        if renamed and statement.line.name in ("COPY", "RUN"):
            fixer.references(statement, renamed)
        span = statement.origin.span
        found = wanted.get(span.first_line, set()) | (wanted.get(span.last_line, set()) & _AT_LAST)
        if found:
            fixer.correct(statement, frozenset(found))
    return fixer.result()


def _sources(flag: str) -> Iterator[tuple[int, str]]:
    """The names after ``from=`` in a flag of COPY or RUN, each with its index in the flag."""
    if flag.startswith(_COPY_FROM):
        yield len(_COPY_FROM), flag.removeprefix(_COPY_FROM)
    elif flag.startswith(_MOUNT):
        position = len(_MOUNT)
        for field in flag.removeprefix(_MOUNT).split(","):
            key, equals, name = field.partition("=")
            if key.lower() == "from" and equals:
                yield position + len(key) + 1, name
            position += len(field) + 1


_AT_LAST = {rules.NO_EMPTY_CONTINUATION.name}
_Range = tuple[int, int]


class _Fixer:
    """Collects the edits to one file, as ranges of characters."""

    def __init__(self, text: str, dockerfile: Dockerfile) -> None:
        self._text = text
        self._places = Places(text, escape=dockerfile.escape)
        self._escape = dockerfile.escape
        self._is_lower = majority_is_lower(dockerfile)
        self._has_authors = _AUTHORS in _label_names(dockerfile)
        self._edits: dict[_Range, tuple[str, str]] = {}

    def correct(self, statement: Statement, found: frozenset[str]) -> None:
        """Make the edits that ``found`` asks for in one instruction."""
        located = self._places.locate(statement)
        if located is None:
            return
        for rule, correct in _CORRECTIONS:
            if rule.name in found:
                correct(self, statement, located, found)

    def result(self) -> FixResult:
        edits: list[Edit] = []
        pieces: list[str] = []
        position = byte = 0
        line = 1
        for (start, end), (replacement, rule) in sorted(self._edits.items()):
            before = self._text[position:start]
            byte += len(before.encode("utf-8", "surrogateescape"))
            line += before.count("\n")
            old = self._text[start:end]
            length = len(old.encode("utf-8", "surrogateescape"))
            edits.append(
                Edit(
                    rule=rule,
                    start=byte,
                    end=byte + length,
                    replacement=replacement,
                    line=line,
                )
            )
            pieces += (before, replacement)
            position = end
            byte += length
            line += old.count("\n")
        pieces.append(self._text[position:])
        return FixResult(text="".join(pieces), edits=tuple(edits))

    def casing(self, statement: Statement, located: Located, found: frozenset[str]) -> None:
        """Write the keyword in the case of the majority, and AS with it."""
        keyword = statement.line.keyword
        self._replace(
            located,
            _keyword_range(statement, located),
            self._in_majority_case(keyword),
            rules.CONSISTENT_INSTRUCTION_CASING,
        )
        self.as_keyword(statement, located, found)

    def as_keyword(self, statement: Statement, located: Located, found: frozenset[str]) -> None:
        """Write AS in the case that FROM has, or gets."""
        keyword, words = statement.line.keyword, statement.line.words
        if statement.line.name != "FROM" or len(words) != 3:
            return
        if rules.CONSISTENT_INSTRUCTION_CASING.name in found:
            keyword = self._in_majority_case(keyword)
        word = words[1].lower() if keyword == keyword.lower() else words[1].upper()
        self._replace_word(statement, located, 1, word, rules.FROM_AS_CASING)

    def stage_name(self, statement: Statement, located: Located, _found: frozenset[str]) -> None:
        """Write the name of a stage in lower case."""
        words = statement.line.words
        if statement.line.name == "FROM" and len(words) == 3:
            name = words[2].lower()
            self._replace_word(statement, located, 2, name, rules.STAGE_NAME_CASING)

    def references(self, statement: Statement, names: Collection[str]) -> None:
        """Write ``names`` in lower case where files are taken from: they are found in any case."""
        flags = statement.origin.flags
        if not any(found.lower() in names for flag in flags for _, found in _sources(flag)):
            return
        located = self._places.locate(statement)
        if located is None:
            return
        for index, flag in enumerate(flags):
            place = find_word(flags, index, located)
            for start, name in _sources(flag) if place is not None else ():
                if name.lower() in names and place is not None:
                    begin = place[0] + start
                    where = (begin, begin + len(name))
                    self._replace(located, where, name.lower(), rules.STAGE_NAME_CASING)

    def pair(self, statement: Statement, located: Located, _found: frozenset[str]) -> None:
        """Write ``key=value`` in place of ``key value``."""
        is_pair = statement.line.name in ("ENV", "LABEL") and len(statement.line.words) == 3
        if statement.origin.flags or not is_pair:
            return
        key, value, _ = statement.line.words
        start = located.arguments
        end = len(located.text.rstrip(SPACE))
        if located.text[start : start + len(key)] != key or not located.text.endswith(
            value, 0, end
        ):
            return
        begin = end - len(value)
        new = pair_text(key, value, escape=self._escape)
        gap = self._gap(located, start + len(key), begin)
        if new is None or gap is None:
            return
        rule = rules.LEGACY_KEY_VALUE_FORMAT
        if new == value:
            self._put(gap, "=", rule)
        elif new == f'"{value}"':
            self._put(gap, '="', rule)
            last = located.offsets[end - 1] + 1
            self._put((last, last), '"', rule)
        elif (whole := located.range(begin, end)) is not None:
            self._put(gap, "=", rule)
            self._put(whole, new, rule)

    def maintainer(self, statement: Statement, located: Located, found: frozenset[str]) -> None:
        """Write the label in place of MAINTAINER, unless there is one already."""
        if statement.line.name != "MAINTAINER" or statement.origin.flags or self._has_authors:
            return
        keyword = statement.line.keyword
        if rules.CONSISTENT_INSTRUCTION_CASING.name in found:
            keyword = self._in_majority_case(keyword)
        label = "label" if keyword == keyword.lower() else "LABEL"
        whole = located.range(0, len(located.text.rstrip(SPACE)))
        new = author_label(_AUTHORS, statement.line.words[0], escape=self._escape)
        if whole is not None and new is not None:
            self._put(whole, f"{label} {new}", rules.MAINTAINER_DEPRECATED)

    def ports(self, statement: Statement, located: Located, found: frozenset[str]) -> None:
        """Lower the protocol, and drop address and host port: EXPOSE drops them anyway."""
        if statement.line.name != "EXPOSE" or statement.origin.flags:
            return
        for index, word in enumerate(statement.line.words):
            if not set(word).isdisjoint(_NOT_PLAIN):
                continue
            new = word
            mapping, _, port = word.rpartition(":")
            if rules.EXPOSE_INVALID_FORMAT.name in found and mapping.strip(":"):
                new = port
            if rules.EXPOSE_PROTO_CASING.name in found:
                port, slash, protocol = new.partition("/")
                new = port + slash + protocol.lower()
            if new != word:
                only_case = new.lower() == word.lower()
                rule = rules.EXPOSE_PROTO_CASING if only_case else rules.EXPOSE_INVALID_FORMAT
                self._replace_word(statement, located, index, new, rule)

    def blank_lines(self, _statement: Statement, located: Located, _found: frozenset[str]) -> None:
        """Take out the blank lines in an instruction."""
        for place in located.blank_lines:
            self._put(place, "", rules.NO_EMPTY_CONTINUATION)

    def _in_majority_case(self, keyword: str) -> str:
        return keyword.lower() if self._is_lower else keyword.upper()

    def _gap(self, located: Located, start: int, end: int) -> _Range | None:
        """The place between two words, across lines only if nothing else is there."""
        first, last = located.offsets[start], located.offsets[end]
        between = self._text[first:last]
        return None if between.strip(" \t\v\f\r\n" + self._escape) else (first, last)

    def _replace_word(
        self, statement: Statement, located: Located, index: int, new: str, rule: rules.Rule
    ) -> None:
        words = (*statement.origin.flags, *statement.line.words)
        place = find_word(words, len(statement.origin.flags) + index, located)
        self._replace(located, place, new, rule)

    def _replace(self, located: Located, place: _Range | None, new: str, rule: rules.Rule) -> None:
        found = None if place is None else located.range(*place)
        if found is not None and self._text[found[0] : found[1]] != new:
            self._put(found, new, rule)

    def _put(self, place: _Range, new: str, rule: rules.Rule) -> None:
        """Remember an edit; one that touches another's text comes too late."""
        if not any(place[0] < end and start < place[1] for start, end in self._edits):
            self._edits[place] = (new, rule.name)


def _keyword_range(statement: Statement, located: Located) -> _Range | None:
    keyword = statement.line.keyword
    return (0, len(keyword)) if located.text.startswith(keyword) else None


def _label_names(dockerfile: Dockerfile) -> set[str]:
    items: Sequence[AnyInstruction] = [
        item for stage in dockerfile.stages for item in stage.instructions
    ]
    return {key.strip("\"'") for item in items if isinstance(item, Label) for key, _ in item.pairs}


_Correct = Callable[[_Fixer, Statement, Located, frozenset[str]], None]
_CORRECTIONS: tuple[tuple[rules.Rule, _Correct], ...] = (
    (rules.MAINTAINER_DEPRECATED, _Fixer.maintainer),
    (rules.CONSISTENT_INSTRUCTION_CASING, _Fixer.casing),
    (rules.FROM_AS_CASING, _Fixer.as_keyword),
    (rules.STAGE_NAME_CASING, _Fixer.stage_name),
    (rules.LEGACY_KEY_VALUE_FORMAT, _Fixer.pair),
    (rules.EXPOSE_INVALID_FORMAT, _Fixer.ports),
    (rules.EXPOSE_PROTO_CASING, _Fixer.ports),
    (rules.NO_EMPTY_CONTINUATION, _Fixer.blank_lines),
)
"""Which rules are corrected; blank lines last, since they may lie in what others replace."""
