"""``--format``: the part of Go's templates that people use with docker.

Known are ``{{.A.B}}``, ``{{json .A}}``, ``{{len .A}}``, ``{{index .A "key" 0}}``,
``{{join .A ","}}``, ``{{lower .A}}``, ``{{upper .A}}``; in other text backslash-n and -t are known.

Source: docker's "Format command and log output".
"""

import json
import re
from collections.abc import Mapping, Sequence

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|([^\s"`]+)')
_FIELD = re.compile(r"\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?\Z")
_FUNCTIONS = ("json", "len", "index", "join", "lower", "upper")


def render_template(template: str, document: object) -> str:
    """Return the template filled from a JSON-like document.

    Raises:
        ValueError: for syntax outside the known part, or a field that the document has not.

    """
    text = template.replace("\\n", "\n").replace("\\t", "\t")
    return _ACTION.sub(lambda match: go_text(_evaluate(match[1], document)), text)


def go_text(value: object) -> str:
    """Return a value as Go prints it inside text."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Mapping():
            pairs = (f"{key}:{go_text(inner)}" for key, inner in sorted(value.items()))
            return f"map[{' '.join(pairs)}]"
        case Sequence():
            return f"[{' '.join(go_text(inner) for inner in value)}]"
        case _:
            return str(value)


def _evaluate(action: str, document: object) -> object:
    words = [
        (match[3] is None, match[1] or match[2] or match[3] or "")
        for match in _WORD.finditer(action)
    ]
    if not words:
        raise ValueError("empty {{}} in the template")
    quoted, first = words[0]
    if len(words) == 1 and not quoted and first.startswith("."):
        return _field(first, document)
    if quoted or first not in _FUNCTIONS or len(words) < 2:
        raise ValueError(
            f"cannot understand {{{{{action}}}}}; known are fields and {', '.join(_FUNCTIONS)}"
        )
    arguments = [word if is_text else _operand(word, document) for is_text, word in words[1:]]
    return _call(first, arguments)


def _operand(word: str, document: object) -> object:
    if word.startswith("."):
        return _field(word, document)
    if word.lstrip("-").isdigit():
        return int(word)
    raise ValueError(f"cannot understand {word!r} in the template")


def _field(path: str, document: object) -> object:
    if _FIELD.match(path) is None:
        raise ValueError(f"cannot understand {path!r} in the template")
    value = document
    for name in filter(None, path.split(".")):
        if not isinstance(value, Mapping):
            raise ValueError(f"no field {path!r}")  # noqa: TRY004  the template is wrong, not a type
        if name not in value:
            raise ValueError(f"no field {path!r}; known here are {', '.join(map(str, value))}")
        value = value[name]
    return value


def _call(function: str, arguments: list[object]) -> object:
    value, *rest = arguments
    match function:
        case "json":
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        case "len" if isinstance(value, Mapping | Sequence):
            return len(value)
        case "len":
            return 0
        case "lower":
            return go_text(value).lower()
        case "upper":
            return go_text(value).upper()
        case "join" if isinstance(value, Sequence | None):
            return go_text(rest[0] if rest else "").join(go_text(inner) for inner in value or ())
        case "index":
            return _index(value, rest)
        case _:
            raise ValueError(f"{function} does not work on {go_text(value)!r}")


def _index(value: object, keys: list[object]) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            raise ValueError(f"index {key!r} is not in {go_text(value)[:80]!r}")
    return value
