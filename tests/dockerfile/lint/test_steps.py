"""Rules on instructions with the variables of their stage."""

from collections.abc import Mapping

import pytest

from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.findings import LintReport
from imagekit.dockerfile.lint.references import PlatformName
from imagekit.dockerfile.lint.settings import BaseImage, LintSettings

_SECRETS = (
    "SECRET_PASSPHRASE",
    "SUPER_Secret",
    "password",
    "auth",
    "git_key",
    "apikey",
    "a_PWORD_b",
    "token",
    "passwd",
    "credential",
    "x_credentials",
    "KEY",
    "my_api_key",
)
_NO_SECRETS = (
    "PUBLIC_KEY",
    "public_token",
    "KEY_FILE",
    "TOKEN_VERSION",
    "keyboard",
    "monkey",
    "SSHKEY",
    "author",
    "secrets",
    "passphrase",
    "key-a",
)


def _report(
    text: str,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    image: BaseImage | None = None,
) -> LintReport:
    settings = LintSettings(build_args=build_args or {}, target=target)
    return lint(text, settings=settings, find_image=lambda _name, _platform: image)


def _found(
    text: str,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    image: BaseImage | None = None,
) -> list[str]:
    report = _report(text, build_args=build_args, target=target, image=image)
    assert report.error is None
    return [finding.short for finding in report.findings]


def _undefined(name: str, line: int, suggestion: str = "") -> str:
    return f"UndefinedVar: Usage of undefined variable '${name}'{suggestion} (line {line})"


def _several(name: str, line: int) -> str:
    return (
        f"MultipleInstructionsDisallowed: Multiple {name} instructions should not be used in the "
        f"same stage because only the last one will be used (line {line})"
    )


def _json(name: str, line: int) -> str:
    return (
        f"JSONArgsRecommended: JSON arguments recommended for {name} to prevent unintended "
        f"behavior related to OS signals (line {line})"
    )


def _secret(name: str, line: int) -> str:
    return (
        "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data "
        f"({name}) (line {line})"
    )


def _relative(path: str, line: int) -> str:
    return (
        f'WorkdirRelativePath: Relative workdir "{path}" can have unexpected results if the base '
        f"image changes (line {line})"
    )


class TestUndefinedVar:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("FROM scratch\nARG foo\nCOPY a${foo} .", id="declared"),
            pytest.param("FROM alpine AS b\nARG foo=x\nFROM b\nCOPY $foo .", id="inherited"),
            pytest.param("FROM scratch\nENV a=1\nCOPY $a .", id="env"),
            pytest.param("FROM alpine\nENV PATH=$PATH:/x", id="path-is-always-there"),
            pytest.param("FROM alpine\nRUN echo $foo $$ $1", id="run-belongs-to-the-shell"),
            pytest.param('FROM alpine\nCMD ["echo", "$foo"]\nSHELL ["$a"]', id="commands"),
            pytest.param("FROM alpine\nONBUILD COPY $foo .", id="triggers-of-this-stage"),
            pytest.param("FROM alpine\nHEALTHCHECK CMD x $foo", id="healthcheck"),
            pytest.param("FROM alpine\nEXPOSE 80$foo", id="expose-is-not-asked"),
            pytest.param("FROM alpine\nCOPY <<'E' /x\n$foo\nE", id="quoted-heredoc"),
            pytest.param("FROM alpine\nCOPY \\$foo '$bar' .", id="escaped"),
            pytest.param("FROM alpine\nCOPY --exclude=$foo a .", id="exclude"),
            pytest.param("FROM alpine\nCOPY $ $. .", id="a-lone-dollar"),
            pytest.param("ARG a=$nobody\nFROM alpine", id="global-defaults"),
        ],
    )
    def test_is_silent_about(self, text: str) -> None:
        assert _found(text) == []

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("COPY $foo .\nARG foo=1", [_undefined("foo", 2)]),
            ("COPY a $foo", [_undefined("foo", 2)]),
            ("COPY --chown=$u --chmod=7$m $a $b", [_undefined(n, 2) for n in "umab"]),
            (
                "ADD --checksum=$c --chown=$u https://x/y $b",
                [_undefined(n, 2) for n in "ucb"],
            ),
            ("COPY ${foo:-x} ${bar+y} .", [_undefined("foo", 2), _undefined("bar", 2)]),
            ("COPY $foo$foo $foo .", [_undefined("foo", 2), _undefined("foo", 2)]),
            ("COPY <<E /x\n$foo $bar\n$foo\nE", [_undefined("foo", 2), _undefined("bar", 2)]),
            ("ENV a=$b c=$a", [_undefined("b", 2), _undefined("a", 2)]),
            ("ENV $k=v", [_undefined("k", 2)]),
            ("LABEL $k=$v", [_undefined("k", 2), _undefined("v", 2)]),
            ("WORKDIR /$x", [_undefined("x", 2)]),
            ("USER $x", [_undefined("x", 2)]),
            ("VOLUME /a $x/", [_undefined("x", 2)]),
            ("STOPSIGNAL ${x:-TERM}", [_undefined("x", 2)]),
            ("ARG a=$b", [_undefined("b", 2)]),
            ("ARG a=1 b=$a c=$later later=$c", [_undefined("later", 2)]),
            (
                "RUN --mount=type=cache,target=/a$x,id=$y$y --mount=target=/b$x a",
                [_undefined("x", 2), _undefined("y", 2), _undefined("x", 2)],
            ),
            ("COPY $1 $@ .", [_undefined("1", 2), _undefined("@", 2)]),
        ],
    )
    def test_each_word_is_asked_on_its_own(self, text: str, expected: list[str]) -> None:
        assert _found(f"FROM alpine\n{text}") == expected

    def test_the_nearest_name_is_suggested(self) -> None:
        text = "FROM alpine\nARG DIR_ASSETS=a/\nENV X=$DIR_ASSET PATH=$PAHT:/tmp\n"

        assert _found(text) == [
            _undefined("DIR_ASSET", 3, " (did you mean $DIR_ASSETS?)"),
            _undefined("PAHT", 3, " (did you mean $PATH?)"),
        ]

    def test_a_name_declared_without_a_value_is_not_suggested(self) -> None:
        assert _found("FROM alpine\nARG VERSION\nCOPY $VERSOIN .") == [_undefined("VERSOIN", 3)]

    def test_global_arguments_are_not_known_in_a_stage(self) -> None:
        assert _found("ARG foo=1\nFROM alpine\nCOPY $foo .") == [_undefined("foo", 3)]
        assert _found("ARG foo=1\nFROM alpine\nARG foo\nCOPY $foo .") == []

    def test_the_variables_of_the_image_are_known(self) -> None:
        image = BaseImage(env=(("JAVA_HOME", "/j"),))

        assert _found("FROM java\nCOPY $JAVA_HOME $JAVA_HOM .", image=image) == [
            _undefined("JAVA_HOM", 2, " (did you mean $JAVA_HOME?)")
        ]

    def test_a_default_is_not_looked_at_when_the_argument_is_given(self) -> None:
        text = "FROM alpine\nARG a=$b"

        assert _found(text, build_args={"a": "1"}) == []

    def test_what_fails_is_reported_too(self) -> None:
        report = _report("FROM alpine\nCOPY ${x:?} $y .")

        assert [finding.short for finding in report.findings] == [_undefined("x", 2)]
        assert report.error is not None
        assert report.error.message == 'failed to process "${x:?}": x: is not allowed to be unset'
        assert report.error.span is not None
        assert report.error.span.first_line == 2

    def test_the_escape_directive_counts_except_in_heredocs(self) -> None:
        text = "# escape=`\nFROM alpine\nCOPY `$a \\$b .\nCOPY <<E /x\n\\$c `$d\nE\n"

        assert _found(text) == [_undefined("b", 3), _undefined("d", 4)]

    def test_sbom_switches_are_known_everywhere(self) -> None:
        assert _found("FROM alpine\nCOPY $BUILDKIT_SBOM_SCAN_STAGE .") == []

    def test_predefined_arguments_have_to_be_declared(self) -> None:
        assert _found("FROM alpine\nCOPY $TARGETARCH .\nARG TARGETOS\nCOPY $TARGETOS .") == [
            _undefined("TARGETARCH", 2)
        ]


class TestStagesThatAreLookedAt:
    _TEXT = "FROM scratch AS a\nCOPY $x .\nFROM scratch AS b\nCOPY $y .\nFROM b\nCOPY $z .\n"

    def test_all_of_them_without_a_target(self) -> None:
        assert _found(self._TEXT) == [_undefined("x", 2), _undefined("y", 4), _undefined("z", 6)]

    def test_those_that_a_target_needs(self) -> None:
        assert _found(self._TEXT, target="B") == [_undefined("y", 4)]

    def test_those_that_a_build_needs(self) -> None:
        report = lint(self._TEXT, settings=LintSettings(only_needed=True))

        assert [f.short for f in report.findings] == [_undefined("y", 4), _undefined("z", 6)]

    def test_needs_through_copy_and_mounts(self) -> None:
        text = (
            "FROM scratch AS a\nCOPY $x .\nFROM scratch AS b\nCOPY $y .\nFROM scratch AS c\n"
            "COPY $z .\nFROM scratch AS d\nCOPY --from=a q .\nRUN --mount=from=b,target=/b p\n"
        )

        assert _found(text, target="d") == [_undefined("x", 2), _undefined("y", 4)]

    def test_a_mistake_in_an_unused_stage_is_a_mistake_only_without_a_target(self) -> None:
        text = "FROM scratch AS a\nWORKDIR ${x:y}\nFROM scratch AS b\nCOPY $y .\n"

        assert _found(text, target="b") == [_undefined("y", 4)]
        assert _report(text).error is not None

    def test_an_unknown_target(self) -> None:
        report = _report("FROM scratch AS build", target="bulid")

        assert report.error is not None
        assert report.error.message == (
            'target stage "bulid" could not be found (did you mean build?)'
        )

    def test_a_stage_that_a_named_context_replaces_is_not_needed(self) -> None:
        settings = LintSettings(target="b", named_contexts=frozenset({"a"}))

        report = lint("FROM scratch AS a\nCOPY $x .\nFROM a AS b\n", settings=settings)

        assert report.findings == ()


class TestMultipleInstructions:
    def test_the_earlier_one_is_the_place(self) -> None:
        text = (
            "FROM scratch\nENTRYPOINT []\nENTRYPOINT []\nCMD []\nCMD []\nCMD []\n"
            "HEALTHCHECK NONE\nHEALTHCHECK CMD x\n"
        )

        assert _found(text) == [
            _several("ENTRYPOINT", 2),
            _several("CMD", 4),
            _several("CMD", 5),
            _several("HEALTHCHECK", 7),
        ]

    def test_each_stage_counts_on_its_own(self) -> None:
        assert _found("FROM scratch AS a\nCMD []\nFROM a\nCMD []\n") == []

    def test_the_name_is_spelled_as_in_the_later_one(self) -> None:
        text = "from scratch\ncmd []\n# check=skip=ConsistentInstructionCasing\nCmd []\nrun x\n"

        assert _several("Cmd", 2) in _found(text)

    def test_the_comment_above_the_later_one_decides(self) -> None:
        text = (
            "FROM scratch\n# check=skip=MultipleInstructionsDisallowed\nCMD []\nCMD []\n"
            "# check=skip=MultipleInstructionsDisallowed\nCMD []\n"
        )

        assert _found(text) == [_several("CMD", 3)]


class TestJSONArgs:
    def test_text_is_reported_in_the_spelling_of_the_file(self) -> None:
        assert _found("from scratch\ncmd a\nentrypoint b\n") == [
            _json("cmd", 2),
            _json("entrypoint", 3),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            'FROM scratch\nCMD ["a"]\nENTRYPOINT []',
            'FROM scratch\nSHELL ["x"]\nCMD a\nENTRYPOINT b',
            'FROM scratch AS a\nSHELL ["x"]\nFROM a\nCMD a',
            "FROM scratch\nHEALTHCHECK CMD a",
            "FROM scratch\nRUN a",
        ],
    )
    def test_is_silent_about(self, text: str) -> None:
        assert _found(text) == []

    def test_a_shell_behind_it_does_not_help(self) -> None:
        assert _found('FROM scratch\nCMD a\nSHELL ["x"]') == [_json("CMD", 2)]

    def test_the_shell_of_the_image_does(self) -> None:
        assert _found("FROM win\nCMD a", image=BaseImage(shell=("powershell",))) == []

    def test_broken_json_is_text(self) -> None:
        assert _found("FROM scratch\nCMD ['a']\n") == [_json("CMD", 2)]

    def test_several_comes_first(self) -> None:
        assert _found("FROM scratch\nCMD a\nCMD b") == [
            _json("CMD", 2),
            _several("CMD", 2),
            _json("CMD", 3),
        ]


class TestLegacyKeyValueFormat:
    def test_env_and_label_are_spelled_as_in_the_file(self) -> None:
        message = (
            'LegacyKeyValueFormat: "{0} key=value" should be used instead of legacy "{0} key '
            'value" format (line {1})'
        )

        assert _found("from scratch\nenv a b c\nlabel a b=c\n") == [
            message.format("env", 2),
            message.format("label", 3),
        ]

    def test_pairs_are_fine(self) -> None:
        assert _found("FROM scratch\nENV a=b\nLABEL a=b c=d\n") == []


class TestSecrets:
    @pytest.mark.parametrize("name", _SECRETS)
    def test_is_found_in(self, name: str) -> None:
        assert _found(f"FROM scratch\nENV {name}=x\nARG {name}") == [
            _secret(f'ENV "{name}"', 2),
            _secret(f'ARG "{name}"', 3),
        ]

    @pytest.mark.parametrize("name", _NO_SECRETS)
    def test_is_not_found_in(self, name: str) -> None:
        assert _found(f"FROM scratch\nENV {name}=x\nARG {name}") == []

    def test_each_pair_counts(self) -> None:
        assert _found("FROM scratch\nARG a_token=1 b=2 auth") == [
            _secret('ARG "a_token"', 2),
            _secret('ARG "auth"', 2),
        ]

    def test_global_arguments_are_left_out(self) -> None:
        assert _found("ARG token\nFROM scratch") == []

    def test_the_key_is_expanded_in_env(self) -> None:
        assert _found("FROM scratch\nARG n=token\nENV a_$n=1") == [_secret('ENV "a_token"', 3)]

    def test_format_comes_before_the_secret_and_variables_before_both(self) -> None:
        rules = [short.partition(":")[0] for short in _found("FROM scratch\nENV token $x")]

        assert rules == ["UndefinedVar", "LegacyKeyValueFormat", "SecretsUsedInArgOrEnv"]


class TestWorkdir:
    def test_only_the_first_one_counts(self) -> None:
        assert _found("FROM scratch\nWORKDIR app/\nWORKDIR b") == [_relative("app/", 2)]
        assert _found("FROM scratch\nWORKDIR /app\nWORKDIR b") == []

    def test_a_base_in_the_file_counts_as_the_first(self) -> None:
        assert _found("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR b") == []
        assert _found("FROM scratch AS a\nFROM a\nWORKDIR b") == [_relative("b", 3)]

    def test_that_of_the_image_does_not(self) -> None:
        assert _found("FROM x\nWORKDIR b", image=BaseImage(workdir="/w")) == [_relative("b", 2)]

    def test_is_seen_after_expansion(self) -> None:
        text = "FROM scratch\nARG d=/x e\nWORKDIR $d\nFROM scratch\nARG e\nWORKDIR $e"

        assert _found(text) == [_relative("", 6)]

    @pytest.mark.parametrize(
        ("path", "is_absolute"),
        [("C:\\app", True), ("c:/app", True), ("\\app", True), ("/app", True), ("D:\\app", False)],
    )
    def test_windows_has_its_own_paths(self, path: str, is_absolute: bool) -> None:
        text = f"# escape=`\nFROM --platform=$BUILDPLATFORM x\nWORKDIR {path}\nCOPY $PATH .\n"
        settings = LintSettings(platform=PlatformName("windows", "amd64"))

        found = [finding.rule for finding in lint(text, settings=settings).findings]

        assert found == ([] if is_absolute else ["WorkdirRelativePath"]) + ["UndefinedVar"]

    def test_a_quote_is_escaped(self) -> None:
        assert _found("FROM scratch\nWORKDIR 'a\"b'") == [_relative('a\\"b', 2)]


class TestExpose:
    def test_protocol_and_mapping(self) -> None:
        proto = "ExposeProtoCasing: Defined protocol '{}' in EXPOSE instruction should be lowercase"
        mapped = (
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port "
            "mapping, found '{}'"
        )

        assert _found("FROM scratch\nEXPOSE 80/TCP 127.0.0.1:80:81/Udp 90:91 92/udp [::1]::93") == [
            f"{proto.format('127.0.0.1:80:81/Udp')} (line 2)",
            f"{mapped.format('127.0.0.1:80:81/Udp')} (line 2)",
            f"{proto.format('80/TCP')} (line 2)",
            f"{mapped.format('90:91')} (line 2)",
            f"{mapped.format('[::1]::93')} (line 2)",
        ]

    @pytest.mark.parametrize("ports", ["80 81/tcp 82-84/sctp", ":80", "::80", "80/"])
    def test_is_silent_about(self, ports: str) -> None:
        assert _found(f"FROM scratch\nEXPOSE {ports}") == []

    def test_variables_are_replaced_first(self) -> None:
        found = _found("FROM scratch\nARG p=80/TCP\nEXPOSE $p")

        assert found == [
            (
                "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be "
                "lowercase (line 3)"
            )
        ]

    def test_what_is_reported_before_the_mistake(self) -> None:
        report = _report("FROM scratch\nEXPOSE 1:99999")

        assert [finding.rule for finding in report.findings] == ["ExposeInvalidFormat"]
        assert report.error is not None
        report = _report("FROM scratch\nEXPOSE 1:80/XTP")
        assert report.findings == ()
        assert report.error is not None


class TestTriggers:
    def test_triggers_of_a_base_in_the_file_stand_at_from(self) -> None:
        text = "FROM scratch AS a\nONBUILD WORKDIR x\nONBUILD CMD y\nFROM a\nCMD z\nWORKDIR w\n"

        assert _found(text) == [
            _relative("x", 4),
            _json("CMD", 4),
            _several("CMD", 4),
            _json("CMD", 5),
        ]

    def test_triggers_of_an_image_too(self) -> None:
        image = BaseImage(triggers=("COPY $x .",))

        assert _found("# c\nFROM x", image=image) == [_undefined("x", 2)]

    def test_only_stages_that_the_last_one_needs_have_them(self) -> None:
        text = "FROM scratch AS a\nONBUILD COPY $x .\nFROM a\nFROM scratch\n"

        assert _found(text) == []

    def test_they_can_need_more_stages(self) -> None:
        text = (
            "FROM scratch AS other\nCOPY $y .\nFROM scratch AS a\n"
            "ONBUILD COPY --from=other x .\nFROM a AS b\n"
        )

        assert _found(text, target="b") == [_undefined("y", 2)]

    def test_a_bad_one_is_blamed_on_from(self) -> None:
        report = _report("FROM scratch AS a\nONBUILD COPY x\nFROM a\n")

        assert report.error is not None
        assert report.error.span is not None
        assert report.error.span.first_line == 3


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("COPY --chmod=64a a b", "64a"),
            ("ADD --checksum=x a b", "checksum requires HTTP(S) or Git sources"),
            (
                "ADD --checksum=x https://a/b https://a/c d/",
                "checksum can't be specified for multiple sources",
            ),
            ("COPY https://x/y b", "source can't be a URL for COPY"),
            ("COPY git@host:x b", "source can't be a git ref for COPY"),
            ("VOLUME $x/.. $y", "VOLUME specified can not be an empty string"),
            ("STOPSIGNAL nonsense", "nonsense"),
            ("RUN --mount=type=nonsense,target=/x a", "nonsense"),
            ("RUN --mount=target=/ a", "invalid mount target"),
            ("EXPOSE x", "x"),
        ],
    )
    def test_ends_the_run_at_its_line(self, text: str, message: str) -> None:
        report = _report(f"FROM scratch\n{text}\nMAINTAINER a\nWORKDIR x\n")

        assert report.error is not None
        assert message in report.error.message
        assert report.error.span is not None
        assert report.error.span.first_line == 2
        assert "WorkdirRelativePath" not in [finding.rule for finding in report.findings]

    def test_copying_from_a_later_stage(self) -> None:
        report = _report("FROM scratch AS a\nWORKDIR x\nCOPY --from=b x .\nFROM scratch AS b\n")

        assert [finding.rule for finding in report.findings] == ["WorkdirRelativePath"]
        assert report.error is not None
        assert report.error.message == (
            'cannot copy from stage "b", it needs to be defined before current stage "a"'
        )

    @pytest.mark.parametrize(
        "text",
        [
            "FROM scratch AS a\nWORKDIR x\nCOPY --from=b x .\nFROM x AS b\nCOPY --from=a x .\n",
            "FROM scratch AS a\nWORKDIR x\nCOPY --from=a x .\n",
        ],
    )
    def test_a_circle_is_found_before_anything_is_looked_at(self, text: str) -> None:
        report = _report(text)

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == "circular dependency detected on stage: a"

    def test_a_bad_stage_number_in_an_unused_stage(self) -> None:
        report = _report("FROM scratch AS a\nCOPY --from=9 x .\nFROM scratch AS b\n", target="b")

        assert report.error is not None
        assert report.error.message == "invalid stage index 9"


class TestBaseImagePlatform:
    _ARM = BaseImage(platform="linux/arm64")

    def test_a_mismatch_is_reported_at_from(self) -> None:
        assert _found("\nFROM debian:12\n", image=self._ARM) == [
            (
                "InvalidBaseImagePlatform: Base image debian:12 was pulled with platform "
                '"linux/arm64", expected "linux/amd64" for current build (line 2)'
            )
        ]

    def test_the_platform_of_from_is_the_expected_one(self) -> None:
        text = "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/arm64 b AS arm64"

        assert [short[-8:] for short in _found(text, image=self._ARM)] == ["(line 1)"]

    def test_variants_are_shown_and_do_not_count(self) -> None:
        image = BaseImage(platform="linux/arm/v6")

        assert _found("FROM --platform=linux/arm x AS arm", image=image) == []
        assert (
            'expected "linux/arm/v7"'
            in (
                _found("FROM --platform=linux/arm x AS arm", image=BaseImage(platform="linux/386"))[
                    0
                ]
            )
        )

    def test_unneeded_images_are_not_asked_for(self) -> None:
        asked: list[str] = []

        def find(name: str, _platform: str | None) -> BaseImage | None:
            asked.append(name)
            return None

        lint(
            "FROM a AS x\nFROM b AS y\nCOPY --from=c p .\n",
            settings=LintSettings(target="y"),
            find_image=find,
        )

        assert asked == ["b", "c"]

    def test_images_that_are_copied_from_are_checked_too(self) -> None:
        assert [s[-8:] for s in _found("FROM scratch\nCOPY --from=x a b", image=self._ARM)] == [
            "(line 2)"
        ]


def test_skipping_above_one_instruction() -> None:
    text = (
        "FROM scratch\n# check=skip=UndefinedVar,SecretsUsedInArgOrEnv and a reason\n"
        "ENV token=$x\nENV token=$x\n# check=nonsense\nENV a=$x\n"
    )

    assert [short.partition(":")[0][:6] + short[-8:] for short in _found(text)] == [
        "Undefi(line 4)",
        "Secret(line 4)",
        "Undefi(line 6)",
    ]
