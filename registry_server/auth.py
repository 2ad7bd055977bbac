"""Who may do what: everybody, or the users of an htpasswd file, with reading left open or not.

Source: RFC 7617 (Basic); Apache's htpasswd format, bcrypt entries only.
"""

import asyncio
import base64
import binascii
import collections
import hashlib
import hmac
import secrets
from pathlib import Path

from registry_server import errors
from registry_server.errors import RegistryError, SettingsError
from registry_server.http import Request

_BCRYPT = ("$2a$", "$2b$", "$2y$")
_REMEMBERED = 1024
_READING = ("GET", "HEAD")


class Htpasswd:
    """The users of an htpasswd file. The file is read again when it changes.

    A bcrypt check takes tens of milliseconds by design, so accepted pairs are remembered: as an
    HMAC under a key of this process, and only until the file changes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = secrets.token_bytes(32)
        self._accepted: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self._version: tuple[int, int, int] | None = None
        self._users: dict[str, bytes] = {}
        self._unknown_user = b""
        self._refresh()

    async def accepts(self, user: str, password: str) -> bool:
        """Tell whether the pair is right; a user that does not exist takes as long to refuse."""
        self._refresh()
        stored = self._users.get(user)
        proof = hmac.digest(self._key, f"{user}\0{password}".encode(), hashlib.sha256)
        if stored is not None and proof in self._accepted:
            self._accepted.move_to_end(proof)
            return True
        version = self._version
        matches = await asyncio.to_thread(_check, password, stored or self._unknown_user)
        if stored is None or not matches:
            return False
        if version == self._version:
            self._accepted[proof] = None
            if len(self._accepted) > _REMEMBERED:
                self._accepted.popitem(last=False)
        return True

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except OSError as error:
            if self._version is not None:
                return  # being replaced by an editor: the users known so far stay valid
            raise SettingsError(
                f"cannot read the password file {self._path}: {error.strerror}"
            ) from error
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._users = parse_htpasswd(self._path)
            self._unknown_user = next(iter(self._users.values()), b"")
            self._accepted.clear()
            self._version = version


def parse_htpasswd(path: Path) -> dict[str, bytes]:
    """Return the bcrypt entry of each user.

    Raises:
        SettingsError: for a file that cannot be read, a line that is no entry, or another format
            than bcrypt; never with the entry itself in the message.

    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the password file {path}: {error}") from error
    users = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, entry = line.strip().partition(":")
        if not colon or not user or not entry.startswith(_BCRYPT) or len(entry) != 60:
            raise SettingsError(
                f"line {number} of {path} is no bcrypt entry",
                hint="Write the entry with htpasswd -B.",
            )
        users[user] = entry.encode()
    return users


class Access:
    """The rule of this registry, asked once per request."""

    def __init__(self, *, htpasswd: Htpasswd | None, anonymous_pull: bool, read_only: bool) -> None:
        self._htpasswd = htpasswd
        self._anonymous_pull = anonymous_pull
        self._read_only = read_only

    async def check(self, request: Request) -> None:
        """Return when the request may go on.

        The API root never answers 200 to an anonymous caller of a registry with users, even when
        pulls are open: docker asks for credentials there or nowhere.

        Raises:
            RegistryError: 401 with a Basic challenge, or 405 for writing to a read-only registry.

        """
        if self._htpasswd is not None:
            await self._authenticate(self._htpasswd, request)
        if self._read_only and request.method not in _READING:
            raise RegistryError(errors.READ_ONLY, headers=(("Allow", "GET, HEAD"),))

    async def _authenticate(self, htpasswd: Htpasswd, request: Request) -> None:
        challenge = RegistryError(
            errors.UNAUTHORIZED,
            headers=(("WWW-Authenticate", 'Basic realm="imagekit registry", charset="UTF-8"'),),
        )
        pair = _basic_pair(request.headers.get("authorization"))
        if pair is None:
            is_root = request.path.rstrip("/") == "/v2"
            if self._anonymous_pull and request.method in _READING and not is_root:
                return
            raise challenge
        if not await htpasswd.accepts(*pair):
            raise challenge


def _basic_pair(header: str | None) -> tuple[str, str] | None:
    """Return user and password, or None for an anonymous caller.

    An empty pair is anonymous: skopeo sends one when it is asked for Basic and has nothing.
    A header that cannot be read is a pair that nobody has.
    """
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ("", encoded)
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ("", encoded)
    user, _, password = text.partition(":")
    return (user, password) if text != ":" else None


def _check(password: str, entry: bytes) -> bool:
    import bcrypt

    # bcrypt reads 72 bytes; newer versions of the library refuse more instead of cutting.
    matches: bool = bcrypt.checkpw(password.encode()[:72], entry)
    return matches
