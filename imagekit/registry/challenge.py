"""The WWW-Authenticate header.

Source: RFC 9110 section 11.6.1. Several challenges may share one header, parameters are tokens or
quoted strings, and registries put commas inside of quotes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(
    rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",=][^\s",]*))(?=\s*(?:,|$))'
)
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)")
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to authenticate: the scheme and the names of its parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Return the challenges in their order; what cannot be understood ends the reading."""
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(header, position):
            name, quoted, plain = pair.groups()
            value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            position = pair.end()
        if not parameters and (single := _TOKEN68.match(header, position)):
            position = single.end()
        found.append(Challenge(scheme=match.group(1).lower(), parameters=parameters))
    return tuple(found)
