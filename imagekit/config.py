"""Settings: defaults, file, environment and flags merged into one frozen value.

Later sources win: the system's file, the user's file, the environment, flags. Each value keeps its
origin, so that an error (and ``imagekit system info``) can say where it came from. This is the only
module of the package that reads the environment.

A file is TOML, all keys optional::

    root = "/srv/imagekit"
    progress = "plain"                  # auto, plain, tty, json
    color = "auto"                      # auto, always, never
    concurrency = 4                     # blobs moved at the same time
    [store]
    max_size = "50GB"                   # of the whole store; default: no limit
    cache_size = "10GB"                 # of the build cache in it; default: no limit
    [registry]
    insecure = ["localhost:5000"]       # plain HTTP, or TLS without a check
    ca_file = "/etc/ssl/company.pem"
    auth_file = "/run/secrets/auth.json"
    [limits]                            # of one layer or archive that is unpacked
    unpacked_bytes = "128GB"
    entries = 10_000_000
    ratio = 1100                        # of unpacked to packed bytes beyond 4 GiB; 0: any
"""

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.base.errors import UserError
from imagekit.base.record import Record

if TYPE_CHECKING:
    from imagekit.layers.limits import Limits

SYSTEM_FILE = Path("/etc/imagekit/config.toml")
SYSTEM_ROOT = Path("/var/lib/imagekit")
DEFAULT_CONCURRENCY = 4
MAX_CONCURRENCY = 64
DEFAULT_MAX_UNPACKED_BYTES = 128 << 30
DEFAULT_MAX_ENTRIES = 10_000_000
DEFAULT_MAX_RATIO = 1100
_MAX_NUMBER = 10**17
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


class InvalidSettingError(UserError):
    """A setting has a value that it cannot have; ``name`` and ``origin`` say which and whose."""

    code = "invalid-setting"

    def __init__(self, message: str, *, name: str, origin: str, hint: str | None = None) -> None:
        super().__init__(f"{origin}: {message}", hint=hint)
        self.name = name
        self.origin = origin


class Color(enum.StrEnum):
    """When output is coloured."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class ProgressMode(enum.StrEnum):
    """How progress is shown; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere."""

    AUTO = "auto"
    PLAIN = "plain"
    TTY = "tty"
    JSON = "json"


class Settings(Record):
    """Everything that is not part of one command's request.

    ``credential_paths`` are docker and containers auth files in the order in which they are asked;
    ``login`` writes the first. ``source_date_epoch`` is in seconds. ``proxies`` maps ``http`` and
    ``https`` to a proxy's URL, which may hold a password; ``no_proxy`` are hosts reached directly.
    ``max_size`` and ``cache_size`` are bytes that the store and its build cache may take, None is
    any number; they are obeyed whenever a build, a pull, a load or an import has stored something.
    ``origins`` maps a field's name to where its value came from; defaults are not in it.
    """

    root: Path
    credential_paths: tuple[Path, ...] = ()
    insecure_registries: frozenset[str] = frozenset()
    ca_file: Path | None = None
    proxies: Mapping[str, str] = {}
    no_proxy: tuple[str, ...] = ()
    concurrency: int = DEFAULT_CONCURRENCY
    color: Color = Color.AUTO
    progress: ProgressMode = ProgressMode.AUTO
    source_date_epoch: int | None = None
    max_size: int | None = None
    cache_size: int | None = None
    debug: bool = False
    max_unpacked_bytes: int = DEFAULT_MAX_UNPACKED_BYTES
    max_entries: int = DEFAULT_MAX_ENTRIES
    max_ratio: int = DEFAULT_MAX_RATIO
    origins: Mapping[str, str] = {}

    def archive_limits(self) -> "Limits":
        """Return what a layer or another archive may unpack to."""
        from imagekit.layers.limits import Limits  # late: most commands unpack nothing

        return Limits(
            unpacked_bytes=self.max_unpacked_bytes,
            entries=self.max_entries,
            ratio=self.max_ratio,
        )

    def __repr__(self) -> str:
        """Return everything but the proxies, whose passwords must not reach a log."""
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "proxies")
        return f"Settings({', '.join(shown)})"


def process_environment() -> Mapping[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)  # noqa: TID251  this is the place


def default_root(environ: Mapping[str, str], *, uid: int) -> Path:
    """Return where the store lives when nobody says otherwise."""
    if uid == 0:
        return SYSTEM_ROOT
    return _xdg(environ, "XDG_DATA_HOME", ".local/share") / "imagekit"


def load_settings(
    environ: Mapping[str, str],
    *,
    root: Path | None = None,
    config_file: Path | None = None,
    progress: ProgressMode | None = None,
    color: Color | None = None,
    debug: bool | None = None,
    uid: int | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """Return the settings of one invocation; keyword arguments are its flags, None is not given.

    ``config_file`` (or IMAGEKIT_CONFIG) replaces both configuration files and must exist. Paths are
    made absolute. Nothing is created.

    Raises:
        InvalidSettingError: naming the file, variable or flag whose value is wrong.

    """
    uid = os.geteuid() if uid is None else uid
    values: dict[str, object] = {}
    origins: dict[str, str] = {}

    def take(found: Mapping[str, object], origin: str | None) -> None:
        for name, value in found.items():
            values[name] = value
            origins[name] = origin or f"environment variable {_VARIABLE_OF[name]}"

    for path in _files(environ, config_file, system_file):
        take(_from_file(path), str(path))
    take(_from_environment(environ), None)
    flags = {"root": root, "progress": progress, "color": color, "debug": debug}
    for name, flag in flags.items():
        if flag is not None:
            take({name: flag}, f"--{name}")

    checked = {name: _check(name, value, origins[name]) for name, value in values.items()}
    auth_file = checked.pop("auth_file", None)
    assert auth_file is None or isinstance(auth_file, Path)
    checked.setdefault("root", default_root(environ, uid=uid))
    return Settings(
        credential_paths=_credential_paths(environ, auth_file),
        proxies=_proxies(environ),
        no_proxy=_no_proxy(environ),
        origins=origins,
        **checked,  # type: ignore[arg-type]  # each value went through its check
    )


def _files(
    environ: Mapping[str, str], config_file: Path | None, system_file: Path
) -> tuple[Path, ...]:
    named = config_file or (
        Path(environ["IMAGEKIT_CONFIG"]) if environ.get("IMAGEKIT_CONFIG") else None
    )
    if named is not None:
        if not named.is_file():
            origin = "--config" if config_file else "environment variable IMAGEKIT_CONFIG"
            raise InvalidSettingError(
                f"no such file: {named}", name="config", origin=origin, hint="Name a TOML file."
            )
        return (named,)
    user_file = _xdg(environ, "XDG_CONFIG_HOME", ".config") / "imagekit" / "config.toml"
    return tuple(path for path in (system_file, user_file) if path.is_file())


_FILE_KEYS = {
    "root": "root",
    "progress": "progress",
    "color": "color",
    "concurrency": "concurrency",
    "debug": "debug",
    "store.max_size": "max_size",
    "store.cache_size": "cache_size",
    "registry.insecure": "insecure_registries",
    "registry.ca_file": "ca_file",
    "registry.auth_file": "auth_file",
    "limits.unpacked_bytes": "max_unpacked_bytes",
    "limits.entries": "max_entries",
    "limits.ratio": "max_ratio",
}
_TABLES = ("store", "registry", "limits")
_VARIABLES = {
    "IMAGEKIT_ROOT": "root",
    "IMAGEKIT_PROGRESS": "progress",
    "IMAGEKIT_COLOR": "color",
    "IMAGEKIT_CONCURRENCY": "concurrency",
    "IMAGEKIT_DEBUG": "debug",
    "IMAGEKIT_MAX_SIZE": "max_size",
    "IMAGEKIT_CACHE_SIZE": "cache_size",
    "IMAGEKIT_INSECURE_REGISTRIES": "insecure_registries",
    "IMAGEKIT_CA_FILE": "ca_file",
    "REGISTRY_AUTH_FILE": "auth_file",
    "IMAGEKIT_MAX_UNPACKED_BYTES": "max_unpacked_bytes",
    "IMAGEKIT_MAX_ENTRIES": "max_entries",
    "IMAGEKIT_MAX_RATIO": "max_ratio",
    "SOURCE_DATE_EPOCH": "source_date_epoch",
}
_VARIABLE_OF = {name: variable for variable, name in _VARIABLES.items()}


def _from_file(path: Path) -> dict[str, object]:
    import tomllib

    origin = str(path)
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidSettingError(
            f"cannot read it: {error.strerror}", name="config", origin=origin
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettingError(f"not TOML: {error}", name="config", origin=origin) from error
    flat: dict[str, object] = {}
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            flat.update({f"{key}.{inner}": content for inner, content in value.items()})
        else:
            flat[key] = value
    for key in flat:
        if key not in _FILE_KEYS:
            raise InvalidSettingError(
                f"unknown key {key!r}",
                name=key,
                origin=origin,
                hint=f"Known keys are {', '.join(_FILE_KEYS)}.",
            )
    return {_FILE_KEYS[key]: value for key, value in flat.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {
        name: environ[variable] for variable, name in _VARIABLES.items() if environ.get(variable)
    }
    if "color" not in found and environ.get("NO_COLOR"):  # no-color.org: any value counts
        found["color"] = Color.NEVER
    return found


def _check(name: str, value: object, origin: str) -> object:
    match name:
        case "root" | "ca_file" | "auth_file":
            return _path(name, value, origin)
        case "progress":
            return _choice(name, value, ProgressMode, origin)
        case "color":
            return _choice(name, value, Color, origin)
        case "concurrency":
            return _number(name, value, origin, lowest=1, highest=MAX_CONCURRENCY)
        case "source_date_epoch":
            return _number(name, value, origin, lowest=0, highest=(1 << 33) - 1)
        case "max_size" | "cache_size" | "max_unpacked_bytes":
            return _size(name, value, origin)
        case "max_entries":
            return _number(name, value, origin, lowest=1, highest=_MAX_NUMBER)
        case "max_ratio":
            return _number(name, value, origin, lowest=0, highest=_MAX_NUMBER)
        case "insecure_registries":
            return _names(name, value, origin)
        case _:
            return _truth(name, value, origin)


def _path(name: str, value: object, origin: str) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise InvalidSettingError(f"{name} is not a path: {value!r}", name=name, origin=origin)
    return Path(value).expanduser().absolute()


def _choice(name: str, value: object, choices: type[enum.StrEnum], origin: str) -> enum.StrEnum:
    for choice in choices:
        if value == choice.value:
            return choice
    raise InvalidSettingError(
        f"{name} cannot be {value!r}",
        name=name,
        origin=origin,
        hint=f"Use one of {', '.join(choice.value for choice in choices)}.",
    )


def _number(name: str, value: object, origin: str, *, lowest: int, highest: int) -> int:
    text = str(value).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1
    if (
        not isinstance(value, str | int)
        or isinstance(value, bool)
        or not lowest <= number <= highest
    ):
        raise InvalidSettingError(
            f"{name} is not a whole number from {lowest} to {highest}: {value!r}",
            name=name,
            origin=origin,
        )
    return number


def _size(name: str, value: object, origin: str) -> int:
    from imagekit.base.sizes import parse_size  # late: most have no limit

    try:
        return parse_size("" if isinstance(value, bool) else str(value))
    except ValueError as error:
        raise InvalidSettingError(
            f"{name} is not a size: {value!r}",
            name=name,
            origin=origin,
            hint="Write it like 512m, 1.5g or 1073741824.",
        ) from error


def _names(name: str, value: object, origin: str) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return frozenset(value)
    raise InvalidSettingError(f"{name} is not a list of names: {value!r}", name=name, origin=origin)


def _truth(name: str, value: object, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidSettingError(f"{name} is not true or false: {value!r}", name=name, origin=origin)


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """Return an XDG base directory; a relative value does not count. Source: XDG base spec."""
    named = environ.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    return _home(environ) / below_home


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    import pwd  # cron and containers leave HOME out

    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def _credential_paths(environ: Mapping[str, str], auth_file: Path | None) -> tuple[Path, ...]:
    """Return where credentials are looked for, docker's file before podman's.

    Source: docker config files; containers-auth.json(5).
    """
    docker = environ.get("DOCKER_CONFIG", "")
    paths = [auth_file] if auth_file else []
    paths.append((Path(docker) if docker else _home(environ) / ".docker") / "config.json")
    if environ.get("XDG_RUNTIME_DIR", "").startswith("/"):
        paths.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    paths.append(_xdg(environ, "XDG_CONFIG_HOME", ".config") / "containers" / "auth.json")
    return tuple(paths)


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies of the environment; lower case wins.

    HTTP_PROXY counts unless REQUEST_METHOD says that a web server made this environment, which sets
    it from a request's header. Source: Go's net/http ProxyFromEnvironment.
    """
    upper = "" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", "")
    found = {
        "http": environ.get("http_proxy") or upper,
        "https": environ.get("https_proxy") or environ.get("HTTPS_PROXY", ""),
    }
    everything = environ.get("all_proxy") or environ.get("ALL_PROXY", "")
    return {scheme: url or everything for scheme, url in found.items() if url or everything}


def _no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    text = environ.get("no_proxy") or environ.get("NO_PROXY", "")
    return tuple(part.strip() for part in text.split(",") if part.strip())
