"""Stored credentials: docker's config.json, podman's auth.json, and credential helpers.

Which files are read, and in which order, is the caller's: nothing here looks at the environment.

Source: docker/cli "config" file format, docker-credential-helpers' protocol,
containers-auth.json(5).
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imagekit.base.atomic import write_file
from imagekit.oci.reference import HUB_DOMAIN
from imagekit.registry.auth import Credentials
from imagekit.registry.errors import CredentialError

HUB_KEY = "https://index.docker.io/v1/"
HELPER_TIMEOUT_S = 60
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")
_NOT_FOUND = "credentials not found in native keychain"
_TOKEN_USER = "<token>"  # noqa: S105 - the user name that marks an identity token

RunHelper = Callable[[str, str, str], str]
"""Takes helper name, verb and standard input, returns standard output."""


def run_helper(name: str, verb: str, text: str) -> str:
    """Run ``docker-credential-NAME VERB`` with ``text`` on its standard input.

    Raises:
        CredentialError: if it is missing, fails, or takes longer than a minute.

    """
    if _HELPER_NAME.match(name) is None:
        raise CredentialError(f"credential helper {name!r} has an impossible name")
    import subprocess  # late: most logins need no helper, and start-up counts

    program = f"docker-credential-{name}"
    try:
        ended = subprocess.run(
            [program, verb], input=text, capture_output=True, text=True, timeout=HELPER_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise CredentialError(
            f"cannot run credential helper {program}: {error.strerror}",
            hint="Install it, or take it out of credHelpers and credsStore.",
        ) from error
    except (subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise CredentialError(f"credential helper {program} gave no usable answer") from error
    if ended.returncode != 0:
        # The helper's output is shown only when it is the known sentence: it may hold a secret.
        known = _NOT_FOUND if _NOT_FOUND in ended.stdout else f"exit status {ended.returncode}"
        raise CredentialError(f"credential helper {program} failed to {verb}: {known}")
    return ended.stdout


class CredentialStore:
    """The credentials in ``paths``, first file first. Looks each host up once.

    ``paths[0]`` is where a login is written.
    """

    def __init__(self, paths: Sequence[Path], *, helper: RunHelper = run_helper) -> None:
        self._paths = tuple(paths)
        self._helper = helper
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Credentials | None] = {}

    def find(self, domain: str, path: str = "") -> Credentials | None:
        """Return the credentials for a registry, or for a repository in it; None if there are none.

        Raises:
            CredentialError: if a file is unreadable or a helper fails.

        """
        with self._lock:
            key = (domain, path)
            if key not in self._found:
                self._found[key] = self._search(domain, path)
            return self._found[key]

    def login(self, domain: str, credentials: Credentials) -> None:
        """Store credentials: with the configured helper, else in the first file (mode 0600).

        Everything else in the file is kept. Replaces what was stored for the registry.
        """
        path, document = self._writable()
        key = server_key(domain)
        helper = _helper_for(document, domain)
        if helper:
            secret = credentials.identity_token or credentials.password
            name = _TOKEN_USER if credentials.identity_token else credentials.username
            entry = {"ServerURL": key, "Username": name, "Secret": secret}
            self._helper(helper, "store", json.dumps(entry))
            _section(document, "auths", path)[key] = {}
        else:
            _section(document, "auths", path)[key] = _encode(credentials)
        self._write(path, document)

    def logout(self, domain: str) -> bool:
        """Remove what the files hold for a registry; tell whether there was something."""
        removed = False
        for path in self._paths:
            document = _load(path)
            helper = _helper_for(document, domain)
            if helper and self._ask(helper, server_key(domain)) is not None:
                self._helper(helper, "erase", server_key(domain))
                removed = True
            auths = _section(document, "auths", path)
            stale = [key for key in auths if _normal_key(key) == domain]
            for key in stale:
                del auths[key]
            if stale:
                self._write(path, document)
                removed = True
        with self._lock:
            self._found.clear()
        return removed

    def _search(self, domain: str, path: str) -> Credentials | None:
        for file in self._paths:
            document = _load(file)
            helper = _helper_for(document, domain)
            found = self._ask(helper, server_key(domain)) if helper else None
            found = found or _from_auths(_section(document, "auths", file), domain, path)
            if found is not None:
                return found
        return None

    def _ask(self, helper: str, key: str) -> Credentials | None:
        try:
            answer = self._helper(helper, "get", key)
        except CredentialError as error:
            if _NOT_FOUND in error.message:
                return None
            raise
        try:
            document = json.loads(answer)
            name, secret = document["Username"], document["Secret"]
        except (ValueError, KeyError, TypeError):
            raise CredentialError(
                f"credential helper docker-credential-{helper} gave no usable answer"
            ) from None
        if name == _TOKEN_USER:
            return Credentials(identity_token=str(secret))
        return Credentials(username=str(name), password=str(secret)) if name else None

    def _writable(self) -> tuple[Path, dict[str, Any]]:
        if not self._paths:
            raise CredentialError("there is no file to store credentials in")
        return self._paths[0], _load(self._paths[0])

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, (json.dumps(document, indent=2) + "\n").encode(), mode=0o600)
        except OSError as error:
            raise CredentialError(f"cannot write {path}: {error.strerror}") from error
        with self._lock:
            self._found.clear()


def server_key(domain: str) -> str:
    """Return the key under which credentials of ``domain`` are stored."""
    return HUB_KEY if domain == HUB_DOMAIN else domain


def _normal_key(key: str) -> str:
    """Return the domain and path of a key that may be written as an address."""
    text = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    if text != key:  # docker wrote addresses such as https://registry.example/v2/
        text = text.removesuffix("/v1").removesuffix("/v2")
    first, slash, rest = text.partition("/")
    hub = ("index.docker.io", "registry-1.docker.io")
    return f"{HUB_DOMAIN if first in hub else first}{slash}{rest}"


def _from_auths(auths: dict[str, Any], domain: str, path: str) -> Credentials | None:
    known = {_normal_key(key): entry for key, entry in auths.items()}
    parts = path.split("/") if path else []
    for length in range(len(parts), -1, -1):
        entry = known.get("/".join((domain, *parts[:length])))
        if isinstance(entry, dict) and (found := _decode(entry, domain)) is not None:
            return found
    return None


def _decode(entry: dict[str, Any], domain: str) -> Credentials | None:
    if token := entry.get("registrytoken"):
        return Credentials(registry_token=str(token))
    name, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if packed := entry.get("auth"):
        try:
            pair = base64.b64decode(str(packed), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise CredentialError(f"stored credentials of {domain} are not valid base64") from None
        name, _, password = pair.rstrip("\0").partition(":")
    identity = str(entry.get("identitytoken") or "")
    if name == _TOKEN_USER:
        name, password, identity = "", "", identity or password
    if not (name or identity):
        return None
    return Credentials(username=name, password=password, identity_token=identity)


def _encode(credentials: Credentials) -> dict[str, str]:
    pair = f"{credentials.username}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(pair).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    return entry


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CredentialError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        # Not "from error": the text of a JSON error may quote the file.
        raise CredentialError(f"{path} is not valid JSON", hint="Repair or remove it.") from None
    if not isinstance(document, dict):
        raise CredentialError(f"{path} is not a JSON object", hint="Repair or remove it.")
    return document


def _section(document: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = document.setdefault(name, {})
    if not isinstance(section, dict):
        raise CredentialError(f"{path}: {name!r} is not an object", hint="Repair or remove it.")
    return section


def _helper_for(document: dict[str, Any], domain: str) -> str | None:
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for key, name in helpers.items():
            if _normal_key(key) == domain and isinstance(name, str):
                return name
    store = document.get("credsStore")
    return store if isinstance(store, str) and store else None
