"""HEALTHCHECK: its test as the image configuration has it, its durations and retries.

Source: Dockerfile reference, "HEALTHCHECK"; BuildKit instructions/parse.go, parseHealthcheck.
"""

from imagekit.dockerfile.errors import DockerfileSyntaxError
from imagekit.dockerfile.flags import FlagValues, parse_flags
from imagekit.dockerfile.instructions import Healthcheck
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.statements import Statement
from imagekit.dockerfile.values import parse_duration

_MIN_DURATION_NS = 1_000_000
_MAX_RETRIES = (1 << 31) - 1


def healthcheck(statement: Statement) -> Healthcheck:
    """Return the checked instruction.

    Raises:
        DockerfileSyntaxError: arity, type or a flag is wrong. The error has no span yet.
        ValueFormatError: a duration is malformed.
    """
    if not statement.line.words:
        raise DockerfileSyntaxError("HEALTHCHECK requires at least one argument")
    kind, *command = statement.line.words
    name = kind.upper()
    if name == "NONE":
        if command:
            raise DockerfileSyntaxError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), origin=statement.origin)
    flags = parse_flags(statement.line.name, statement.origin.flags)
    if name != "CMD":
        raise DockerfileSyntaxError(f"Unknown type {go_quote(name)} in HEALTHCHECK (try CMD)")
    if not command:
        raise DockerfileSyntaxError("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        origin=statement.origin,
        test=("CMD" if statement.line.json else "CMD-SHELL", *command),
        interval_ns=_interval(flags, "interval"),
        timeout_ns=_interval(flags, "timeout"),
        start_period_ns=_interval(flags, "start-period"),
        start_interval_ns=_interval(flags, "start-interval"),
        retries=_retries(flags),
    )


def _interval(flags: FlagValues, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    duration = parse_duration(text)
    if duration != 0 and duration < _MIN_DURATION_NS:
        raise DockerfileSyntaxError(f"Interval {go_quote(name)} cannot be less than 1ms")
    return duration


def _retries(flags: FlagValues) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    digits = (text[1:] if text[0] in "+-" else text).lstrip("0") or text[-1]
    if not (digits.isascii() and digits.isdecimal()):
        raise DockerfileSyntaxError(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    if len(digits) > 10 or int(digits) > _MAX_RETRIES + (text[0] == "-"):
        raise DockerfileSyntaxError(
            f"strconv.ParseInt: parsing {go_quote(text)}: value out of range"
        )
    retries = int(text)
    if retries < 0:
        raise DockerfileSyntaxError(f"--retries cannot be negative ({retries})")
    return retries
