from pathlib import Path

import pytest

from imagekit.config import (
    Color,
    InvalidSettingError,
    ProgressMode,
    Settings,
    default_root,
    load_settings,
    process_environment,
)
from imagekit.layers.limits import Limits


def load(environ: dict[str, str], tmp_path: Path, **flags: object) -> Settings:
    base = {"HOME": str(tmp_path / "home")}
    return load_settings(
        {**base, **environ},
        uid=1000,
        system_file=tmp_path / "system.toml",
        **flags,  # type: ignore[arg-type]  # checked by the tests that use them
    )


def user_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "home" / ".config" / "imagekit" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_defaults_have_no_origin(tmp_path: Path) -> None:
    settings = load({}, tmp_path)

    assert settings.root == tmp_path / "home/.local/share/imagekit"
    assert settings.progress is ProgressMode.AUTO
    assert settings.origins == {}


def test_root_has_a_system_wide_store() -> None:
    assert default_root({}, uid=0) == Path("/var/lib/imagekit")
    assert default_root({"XDG_DATA_HOME": "/d"}, uid=1) == Path("/d/imagekit")


def test_a_relative_xdg_directory_does_not_count() -> None:
    assert default_root({"XDG_DATA_HOME": "d", "HOME": "/h"}, uid=1) == Path(
        "/h/.local/share/imagekit"
    )


def test_later_sources_win_and_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text('root = "/system"\nprogress = "tty"\nconcurrency = 2\n')
    path = user_file(tmp_path, 'root = "/user"\nprogress = "json"\n')

    settings = load({"IMAGEKIT_PROGRESS": "plain"}, tmp_path, color=Color.NEVER)

    assert settings.root == Path("/user")
    assert settings.progress is ProgressMode.PLAIN
    assert settings.concurrency == 2
    assert settings.color is Color.NEVER
    assert settings.origins == {
        "root": str(path),
        "progress": "environment variable IMAGEKIT_PROGRESS",
        "concurrency": str(tmp_path / "system.toml"),
        "color": "--color",
    }


def test_a_named_file_replaces_both(tmp_path: Path) -> None:
    user_file(tmp_path, 'root = "/user"\n')
    named = tmp_path / "named.toml"
    named.write_text('progress = "plain"\n')

    settings = load({"IMAGEKIT_CONFIG": str(named)}, tmp_path)

    assert settings.root == tmp_path / "home/.local/share/imagekit"
    assert settings.progress is ProgressMode.PLAIN


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="IMAGEKIT_CONFIG: no such file"):
        load({"IMAGEKIT_CONFIG": "/nowhere/x.toml"}, tmp_path)


def test_the_registry_section(tmp_path: Path) -> None:
    user_file(
        tmp_path,
        '[registry]\ninsecure = ["a:5000", "b"]\nca_file = "/ca.pem"\nauth_file = "/auth.json"\n',
    )

    settings = load({}, tmp_path)

    assert settings.insecure_registries == {"a:5000", "b"}
    assert settings.ca_file == Path("/ca.pem")
    assert settings.credential_paths[0] == Path("/auth.json")


def test_credentials_are_looked_for_where_docker_and_podman_keep_them(tmp_path: Path) -> None:
    settings = load({"DOCKER_CONFIG": "/docker", "XDG_RUNTIME_DIR": "/run/user/1"}, tmp_path)

    assert settings.credential_paths == (
        Path("/docker/config.json"),
        Path("/run/user/1/containers/auth.json"),
        tmp_path / "home/.config/containers/auth.json",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rot = 1", "unknown key 'rot'"),
        ("[registry]\nsecure = 1", "unknown key 'registry.secure'"),
        ("root = 1", "root is not a path"),
        ('root = ""', "root is not a path"),
        ('progress = "loud"', "progress cannot be 'loud'"),
        ("concurrency = 0", "concurrency is not a whole number from 1 to 64"),
        ("concurrency = true", "concurrency is not"),
        ("[registry]\ninsecure = 5", "not a list of names"),
        ('debug = "maybe"', "debug is not true or false"),
        ("root = ", "not TOML"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, problem: str) -> None:
    path = user_file(tmp_path, text)

    with pytest.raises(InvalidSettingError, match=problem) as caught:
        load({}, tmp_path)

    assert caught.value.origin == str(path)
    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "99999999999999"])
def test_a_wrong_source_date_epoch_names_the_variable(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidSettingError, match="environment variable SOURCE_DATE_EPOCH"):
        load({"SOURCE_DATE_EPOCH": value}, tmp_path)


def test_values_of_the_environment(tmp_path: Path) -> None:
    settings = load(
        {
            "SOURCE_DATE_EPOCH": "1700000000",
            "IMAGEKIT_DEBUG": "1",
            "NO_COLOR": "1",
            "IMAGEKIT_INSECURE_REGISTRIES": "a:5000, b",
            "https_proxy": "http://proxy:3128",
            "HTTP_PROXY": "http://other",
            "NO_PROXY": "localhost, .internal",
        },
        tmp_path,
    )

    assert settings.source_date_epoch == 1700000000
    assert settings.debug
    assert settings.color is Color.NEVER
    assert settings.insecure_registries == {"a:5000", "b"}
    assert settings.proxies == {"https": "http://proxy:3128", "http": "http://other"}
    assert settings.no_proxy == ("localhost", ".internal")


def test_a_web_servers_proxy_header_is_not_trusted(tmp_path: Path) -> None:
    settings = load({"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil"}, tmp_path)

    assert settings.proxies == {}


def test_a_proxys_password_is_not_in_the_repr(tmp_path: Path) -> None:
    settings = load({"https_proxy": "http://u:secret@proxy"}, tmp_path)

    assert "secret" not in repr(settings)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load({}, tmp_path, root=Path("r")).root == tmp_path / "r"


def test_the_environment_is_a_copy() -> None:
    assert process_environment() is not process_environment()


def test_limits_of_the_store(tmp_path: Path) -> None:
    path = user_file(tmp_path, '[store]\nmax_size = "50GB"\ncache_size = 1000\n')

    settings = load({"IMAGEKIT_CACHE_SIZE": "1.5g"}, tmp_path)

    assert settings.max_size == 50 << 30
    assert settings.cache_size == 3 << 29
    assert settings.origins["max_size"] == str(path)
    assert settings.origins["cache_size"] == "environment variable IMAGEKIT_CACHE_SIZE"
    assert load({}, tmp_path / "elsewhere").max_size is None


@pytest.mark.parametrize("value", ['"much"', "true", "-1", '["1g"]'])
def test_a_limit_that_is_no_size(tmp_path: Path, value: str) -> None:
    user_file(tmp_path, f"[store]\nmax_size = {value}\n")

    with pytest.raises(InvalidSettingError, match="max_size is not a size"):
        load({}, tmp_path)


def test_limits_of_archives(tmp_path: Path) -> None:
    path = user_file(tmp_path, '[limits]\nunpacked_bytes = "5k"\nentries = 7\nratio = 0\n')

    settings = load({"IMAGEKIT_MAX_ENTRIES": "8"}, tmp_path)

    assert settings.archive_limits() == Limits(unpacked_bytes=5 << 10, entries=8, ratio=0)
    assert settings.origins["max_unpacked_bytes"] == str(path)
    assert "IMAGEKIT_MAX_ENTRIES" in settings.origins["max_entries"]


def test_limits_by_default(tmp_path: Path) -> None:
    assert load({}, tmp_path).archive_limits() == Limits()


@pytest.mark.parametrize(
    "text", ['unpacked_bytes = "all"', "entries = -1", 'ratio = "many"', "ratios = 5"]
)
def test_a_limit_that_is_none(tmp_path: Path, text: str) -> None:
    path = user_file(tmp_path, f"[limits]\n{text}\n")

    with pytest.raises(InvalidSettingError, match=str(path)):
        load({}, tmp_path)
