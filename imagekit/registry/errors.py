"""Errors of talking to a registry.

RegistryError                 base: the registry or the way to it failed
├── UnreachableError          no connection, a broken one, or no answer in time
│   └── CertificateError      the other side's TLS certificate is not trusted
├── AuthenticationError       401: no credentials, wrong ones, or a token service that refused
├── DeniedError               403: known, but not allowed
├── NotFoundError             404: no such repository, manifest, blob or upload
├── UnsupportedError          405: this registry does not offer the operation
├── RateLimitedError          429
├── ServerFailedError         5xx
├── RejectedError             any other refusal, 400 and 413 above all
├── ProtocolError             an answer that breaks the protocol
└── CredentialError           a credential file or helper that cannot be used

UserError
├── NoSuchPlatformError       an index that offers nothing for the platform asked for
└── ContentMissingError       content in memory that was never put there

``transient`` tells whether the same request may succeed later; ``retry_after_s`` is what the server
asked for. URLs in messages are without query and user, since both may carry secrets.
"""

import json
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from imagekit.base.errors import RemoteError, UserError

MAX_ERROR_BYTES = 16 << 10
_MAX_SHOWN = 300


class RegistryError(RemoteError):
    """A registry refused, failed or could not be reached.

    ``status`` is the HTTP status (0 when there was no answer), ``codes`` the error codes of the
    answer, such as ``MANIFEST_UNKNOWN``.
    """

    code = "registry"
    transient: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int = 0,
        codes: tuple[str, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint or self.default_hint)
        self.status = status
        self.codes = codes
        self.retry_after_s = retry_after_s


class UnreachableError(RegistryError):
    """There is no connection to the registry, or it broke before the answer was complete."""

    code = "registry-unreachable"
    transient = True
    default_hint = "Check the registry's name and port, the network and the proxy settings."


class CertificateError(UnreachableError):
    """The registry's TLS certificate is not trusted here."""

    code = "registry-certificate"
    transient = False
    default_hint = "Name the registry's CA file, or allow the registry as insecure."


class AuthenticationError(RegistryError):
    """The registry wants credentials that it did not get."""

    code = "registry-authentication"
    default_hint = "Log in to the registry with `imagekit login` and try again."


class DeniedError(RegistryError):
    """The registry knows who asks, and says no."""

    code = "registry-denied"
    default_hint = "Ask the owner of the repository for this permission."


class NotFoundError(RegistryError):
    """The registry has no such repository, manifest, blob or upload."""

    code = "registry-not-found"
    default_hint = "Check the repository, the tag and your permission to see it."


class UnsupportedError(RegistryError):
    """The registry does not offer this operation."""

    code = "registry-unsupported"
    default_hint = "Ask the registry's administrator to turn this operation on."


class RateLimitedError(RegistryError):
    """Too many requests in too short a time."""

    code = "registry-rate-limited"
    transient = True
    default_hint = "Wait, or log in to get a higher limit."


class ServerFailedError(RegistryError):
    """The registry failed on its own side."""

    code = "registry-failed"
    transient = True
    default_hint = "Try again later; the registry's own log has the cause."


class RejectedError(RegistryError):
    """The registry refused the request as it stands."""

    code = "registry-rejected"


class ProtocolError(RegistryError):
    """The registry answered against the protocol."""

    code = "registry-protocol"
    default_hint = "Check that the address is a container registry and not another web server."


class CredentialError(RegistryError):
    """A file or program with credentials cannot be read, run or understood."""

    code = "registry-credentials"


class NoSuchPlatformError(UserError):
    """The image is not offered for the platform that was asked for."""

    code = "no-such-platform"


class ContentMissingError(UserError):
    """The content is not in this memory."""

    code = "content-missing"


_BY_STATUS: Mapping[int, type[RegistryError]] = {
    401: AuthenticationError,
    403: DeniedError,
    404: NotFoundError,
    405: UnsupportedError,
    408: ServerFailedError,
    429: RateLimitedError,
}
_MEANINGS: Mapping[type[RegistryError], str] = {
    AuthenticationError: "needs valid credentials",
    DeniedError: "is denied",
    NotFoundError: "was not found",
    UnsupportedError: "is not supported",
    RateLimitedError: "is limited",
    ServerFailedError: "failed at the registry",
    RejectedError: "was rejected",
}


def redacted(url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def error_of(
    *, method: str, url: str, status: int, body: bytes, retry_after_s: float | None = None
) -> RegistryError:
    """Return the error that an answer of status 400 and above means.

    ``body`` is the beginning of the answer's body; its error codes and messages are shown, cleaned
    of control characters and shortened, because a stranger wrote them.
    """
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = ServerFailedError if status >= 500 else RejectedError
    details = _details(body)
    said = "; ".join(text for _, text in details)
    told = f": {_clean(said)}" if said else ""
    meaning = _MEANINGS.get(kind, "failed")
    return kind(
        f"{method} {redacted(url)} {meaning} (status {status}){told}",
        status=status,
        codes=tuple(code for code, _ in details if code),
        retry_after_s=retry_after_s,
    )


def _details(body: bytes) -> list[tuple[str, str]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    result = []
    for item in errors if isinstance(errors, list) else ():
        if isinstance(item, dict):
            code, text = str(item.get("code") or ""), str(item.get("message") or "")
            result.append((code, f"{text} ({code})" if text and code else text or code))
    return result


def _clean(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
