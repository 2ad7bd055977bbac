"""The root of all errors."""

import pytest

from imagekit.base.errors import CorruptionError, HostError, ImagekitError, RemoteError, UserError


def test_an_error_has_a_message_and_may_have_a_hint() -> None:
    plain = UserError("cannot do it")
    hinted = UserError("cannot do it", hint="Do this instead.")

    assert (str(plain), plain.message, plain.hint) == ("cannot do it", "cannot do it", None)
    assert (str(hinted), hinted.hint) == ("cannot do it", "Do this instead.")


@pytest.mark.parametrize(
    ("kind", "code", "exit_code"),
    [
        (ImagekitError, "error", 1),
        (UserError, "invalid-request", 2),
        (HostError, "host", 3),
        (RemoteError, "remote", 4),
        (CorruptionError, "corruption", 5),
    ],
)
def test_codes_are_stable(kind: type[ImagekitError], code: str, exit_code: int) -> None:
    assert (kind.code, kind.exit_code) == (code, exit_code)
    assert issubclass(kind, ImagekitError)
