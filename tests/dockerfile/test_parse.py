"""Checked instructions: arity, flags, forms, and the quirks that files rely on."""

import pytest

from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.errors import (
    DockerfileError,
    DockerfileSyntaxError,
    Span,
    render_errors,
)
from imagekit.dockerfile.instructions import (
    Add,
    AnyInstruction,
    Cmd,
    Copy,
    ExecForm,
    Healthcheck,
    OnBuild,
    Run,
    ShellForm,
)
from imagekit.dockerfile.parse import parse, parse_trigger

_COPY_ARITY = (
    "COPY requires at least two arguments, but only one was provided. "
    "Destination could not be determined"
)
_NAME_RULE = ", name can't start with a number or contain symbols"


def _only(line: str) -> AnyInstruction:
    (instruction,) = parse(f"FROM scratch\n{line}").stages[0].instructions
    return instruction


def _run(line: str) -> ShellForm:
    instruction = _only(line)
    assert isinstance(instruction, Run)
    assert isinstance(instruction.command, ShellForm)
    return instruction.command


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("FRO x", "unknown instruction: FRO (did you mean FROM?)"),
        ("cpoy x", "unknown instruction: cpoy (did you mean copy?)"),
        ("Cpoy x", "unknown instruction: Cpoy (did you mean copy?)"),
        ("NOTHING", "unknown instruction: NOTHING"),
        ("u\u017fer x", "unknown instruction: u\u017fer (did you mean user?)"),
        ("COPY a", _COPY_ARITY),
        ("ADD", _COPY_ARITY.replace("COPY", "ADD")),
        ('COPY ["a"]', _COPY_ARITY),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV =a", "ENV names can not be blank"),
        ("ENV a=b =c", "ENV names can not be blank"),
        ("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("LABEL", "LABEL requires at least one argument"),
        ("LABEL a", "LABEL must have two arguments"),
        ("LABEL a=b =c", "LABEL names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL", "SHELL requires at least one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK foo x", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD x", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=1 CMD x", 'time: missing unit in duration "1"'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("HEALTHCHECK --retries=99999999999 CMD x",
         'strconv.ParseInt: parsing "99999999999": value out of range'),
        ("HEALTHCHECK --retries=2147483648 CMD x",
         'strconv.ParseInt: parsing "2147483648": value out of range'),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD --x RUN y", "unknown flag: --x"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a is b", "FROM requires either one or three arguments"),
        ("FROM a as 1b", 'invalid name for build stage: "1b"' + _NAME_RULE),
        ("FROM a as b/c", 'invalid name for build stage: "b/c"' + _NAME_RULE),
        ("CMD --help", "unknown flag: --help"),
        ("ENTRYPOINT --x", "unknown flag: --x"),
        ("ENV --a=b c=d", "unknown flag: --a"),
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("ADD --from=x a b", "unknown flag: --from"),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --from=a --from=b a b", "duplicate flag specified: --from"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("RUN --network=bridge x", 'invalid network mode "bridge"'),
        ("RUN --network=hots x", 'invalid network mode "hots"'),
        ("RUN --security=off x", 'security "off" is not valid'),
        ("RUN --mount=from=$x,target=/y x",
         "'from' doesn't support variable expansion, define alias stage instead"),
        ("COPY --x <<a <<b\n1\na\n2\nb", "unknown flag: --x"),
        ('COPY ["a", "<<b"]', "COPY cannot accept a heredoc as a destination"),
        ("COPY 'x <<b", "COPY cannot accept a heredoc as a destination"),
        ("RUN --network=x --mount=from=$x x",
         "'from' doesn't support variable expansion, define alias stage instead"),
        ("RUN --mount= x", "failed to parse csv mounts: EOF"),
        ("COPY <<a /x <<b\n1\na\n2\nb", "COPY cannot accept a heredoc as a destination"),
        ('CMD ["a", null]',
         "when using JSON array syntax, arrays must be comprised of strings only"),
        ("RUN a\0b", "instruction contains a NUL character"),
    ],
)  # fmt: skip
def test_refused(line: str, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM scratch\n{line}")

    assert caught.value.reason == reason
    assert caught.value.span is not None
    assert caught.value.span.first_line == 2


def test_errors_of_checked_instructions_name_the_line() -> None:
    with pytest.raises(DockerfileSyntaxError) as caught:
        parse("FROM scratch\n\nRUN --netwrk=none x", file_name="sub/Dockerfile")

    assert caught.value.message == (
        "dockerfile parse error on line 3: unknown flag: --netwrk (did you mean network?)"
    )
    assert caught.value.span == Span(
        file_name="sub/Dockerfile", first_line=3, last_line=3, column=5
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the Dockerfile cannot be empty"),
        ("\n  \n", "file with no instructions"),
        ("# x", "file with no instructions"),
        ("ARG x", "dockerfile contains no stages to build"),
        ("ENV a=b", "no build stage in current context"),
        ("# escape=ab\nFROM a", "invalid escape token 'ab' does not match ` or \\"),
        ("# escape=`\n# ESCAPE=`\nFROM a", "only one escape parser directive can be used"),
        ("# check=a\n# check=b\nFROM a", "only one check parser directive can be used"),
        ("FROM a\nRUN <<E\nx", "unterminated heredoc"),
        ("FROM a\nRUN " + "x" * 65532 + "\n",
         "dockerfile line greater than max allowed size of 65535"),
    ],
)  # fmt: skip
def test_refused_files(text: str, reason: str) -> None:
    with pytest.raises(DockerfileSyntaxError) as caught:
        parse(text)

    assert caught.value.message == reason
    assert caught.value.span is not None


def test_longest_line_is_accepted() -> None:
    assert len(parse("FROM a\nRUN " + "x" * 65531 + "\n").stages) == 1


def test_last_line_without_newline_is_a_byte_shorter() -> None:
    assert len(parse("FROM a\nRUN " + "x" * 65531).stages) == 1
    with pytest.raises(DockerfileSyntaxError, match="max allowed size of 65535"):
        parse("FROM a\nRUN " + "x" * 65532)


def test_bytes_that_are_not_utf8_are_refused_outside_comments_and_documents() -> None:
    parsed = parse(b"# caf\xe9\nFROM a\nCOPY <<E /x\n\xe9\nE\n")

    with pytest.raises(DockerfileSyntaxError, match="not valid UTF-8"):
        parse(b"FROM a\nRUN caf\xe9\n")
    (copy,) = parsed.stages[0].instructions
    assert isinstance(copy, Copy)
    assert copy.heredocs[0].body.encode("utf-8", "surrogateescape") == b"\xe9\n"


def test_flags_are_dropped_unchecked_by_arg_stopsignal_and_healthcheck_none() -> None:
    parsed = parse("ARG --x a\nFROM a\nSTOPSIGNAL --x 9\nHEALTHCHECK --x NONE\nARG --y=1 b")

    assert parsed.global_args[0].pairs == (("a", None),)
    assert len(parsed.stages[0].instructions) == 3  # [Q]


def test_stage_names_are_lower_case_but_the_spelling_is_kept() -> None:
    stages = parse("FROM a As Base\nFROM b\nFROM c AS d.e_f-1").stages

    assert [(stage.name, stage.display_name) for stage in stages] == [
        ("base", "base"),
        (None, "stage-1"),
        ("d.e_f-1", "d.e_f-1"),
    ]
    assert stages[0].base.alias == "Base"
    assert stages[0].base.as_keyword == "As"


def test_only_stage_without_name_has_no_display_name() -> None:
    assert parse("FROM a").stages[0].display_name == ""


class TestRun:
    def test_exec_form(self) -> None:
        run = _only('RUN ["a", "b c"]')

        assert isinstance(run, Run)
        assert run.command == ExecForm(args=("a", "b c"))

    def test_empty_run_is_an_empty_shell_text(self) -> None:
        assert _run("RUN").shell_text == ""

    def test_document_is_the_command_itself(self) -> None:
        command = _run("RUN <<EOF\na\nb\nEOF")

        assert command.shell_text == "a\nb\n"
        assert command.script is None

    def test_document_behind_a_file_descriptor_is_the_command_too(self) -> None:
        assert _run("RUN 3<<EOF\na\nEOF").shell_text == "a\n"  # [Q]

    def test_tabs_of_a_document_are_dropped(self) -> None:
        assert _run("RUN <<-EOF\n\t\ta\n\t\n \tb\n\tEOF").shell_text == "a\n\n \tb\n"

    def test_script_with_a_shebang(self) -> None:
        command = _run("RUN <<-EOF\n\t#!/bin/sh\n\techo\n\tEOF")

        assert command.script is not None
        assert command.script.name == "EOF"
        assert command.script.content == "#!/bin/sh\necho\n"

    def test_other_documents_are_left_to_the_shell(self) -> None:
        command = _run("RUN cat <<A <<-B > /x\n1\nA\n\t2\n\tB")

        assert command.shell_text == "cat <<A <<-B > /x\n1\nA\n\t2\nB"
        assert command.document is None

    def test_document_with_a_program_is_left_to_the_shell(self) -> None:
        assert _run("RUN <<EOF bash\necho\nEOF").shell_text == "<<EOF bash\necho\nEOF"

    def test_unbalanced_line_has_no_documents(self) -> None:
        parsed = parse("FROM a\nRUN echo 'x <<EOF\nRUN y")  # [Q]

        assert len(parsed.stages[0].instructions) == 2


class TestCopy:
    def test_documents_and_paths(self) -> None:
        copy = _only('COPY x <<a y <<-"b" /dst/\n1\na\n\t2\nb')

        assert isinstance(copy, Copy)
        assert copy.sources == ("x", "y")
        assert [(item.name, item.content, item.expand) for item in copy.heredocs] == [
            ("a", "1\n", True),
            ("b", "2\n", False),
        ]

    def test_quoted_delimiter_with_a_blank_is_announced_but_never_named(self) -> None:
        copy = _only('COPY <<a <<"b c" /x\n1\na\n2\nb c')

        assert isinstance(copy, Copy)
        assert [item.name for item in copy.heredocs] == ["a"]
        assert copy.sources == ('<<"b', 'c"')

    def test_a_word_of_json_that_looks_like_a_document_is_an_empty_one(self) -> None:
        copy = _only('COPY ["<<\'EOF\'", "/x"]')  # [Q]

        assert isinstance(copy, Copy)
        assert copy.sources == ()
        assert [(item.name, item.content, item.expand) for item in copy.heredocs] == [
            ("EOF", "", False)
        ]

    def test_two_documents_of_one_name_are_the_last(self) -> None:
        copy = _only("COPY <<a <<-'a' /x/\n1\na\n\t2\na")

        assert isinstance(copy, Copy)
        assert [(item.content, item.expand) for item in copy.heredocs] == [
            ("\t2\n", True),
            ("2\n", False),
        ]

    def test_words_are_split_without_regard_to_quotes(self) -> None:
        copy = _only("COPY 'a b' c")

        assert isinstance(copy, Copy)
        assert copy.sources == ("'a", "b'")

    def test_blank_behind_the_angles_makes_two_paths(self) -> None:
        copy = _only("COPY << EOF /x\nEOF")  # [Q]

        assert isinstance(copy, Copy)
        assert copy.sources == ("<<", "EOF")

    def test_empty_from_is_the_build_context(self) -> None:
        copy = _only("COPY --from= a b")

        assert isinstance(copy, Copy)
        assert copy.from_ is None

    def test_switches_of_add_may_be_unset(self) -> None:
        add = _only("ADD --unpack=False a b")

        assert isinstance(add, Add)
        assert (add.unpack, add.keep_git_dir, add.link) == (False, None, False)


def test_healthcheck_values() -> None:
    check = _only("HEALTHCHECK --interval=1m --timeout=0 --retries=+2 CMD  curl  x ")

    assert isinstance(check, Healthcheck)
    assert check.test == ("CMD-SHELL", "curl  x")
    assert (check.interval_ns, check.timeout_ns, check.retries) == (60_000_000_000, 0, 2)


def test_broken_json_is_a_shell_command() -> None:
    cmd = _only("CMD ['a']")

    assert isinstance(cmd, Cmd)
    assert cmd.command == ShellForm(text="['a']")


class TestOnBuild:
    def test_trigger_is_the_raw_text(self) -> None:
        onbuild = _only("onBuild   RUN  a \\\n  b <<E\nx\nE")

        assert isinstance(onbuild, OnBuild)
        assert onbuild.trigger == "RUN  a   b <<E\nx\nE"

    def test_trigger_parses_at_use_with_the_span_of_from(self) -> None:
        span = Span(file_name="Dockerfile", first_line=7, last_line=7)

        run = parse_trigger("RUN cat <<E\nx\nE", span=span)

        assert isinstance(run, Run)
        assert isinstance(run.command, ShellForm)
        assert run.command.shell_text == "cat <<E\nx\nE"
        assert run.span == span

    @pytest.mark.parametrize(
        "text", ["", "ONBUILD RUN x", "FROM a", "RUN a\nRUN b", "COPY a", "CMD [1]", "RUN <<E"]
    )
    def test_bad_trigger_is_refused_at_the_span_of_from(self, text: str) -> None:
        span = Span(file_name="Dockerfile", first_line=7, last_line=7)

        with pytest.raises(DockerfileSyntaxError) as caught:
            parse_trigger(text, span=span)

        assert caught.value.span is not None
        assert caught.value.span.first_line == 7

    def test_chain_of_thousands_does_not_exhaust_the_stack(self) -> None:
        with pytest.raises(DockerfileSyntaxError, match="Chaining"):
            parse("FROM a\n" + "ONBUILD " * 8000)


def test_comments_belong_to_the_next_instruction() -> None:
    parsed = parse("# escape=`\n# one\n\n# two\nFROM a\n# three\n#\n# four\nRUN x")

    assert parsed.stages[0].base.origin.comments == ("one", "two")  # a blank line detaches not [Q]
    assert parsed.stages[0].instructions[0].origin.comments == ("four",)


def test_empty_continuation_is_warned_of_once_at_the_last_line() -> None:
    parsed = parse("FROM a\nRUN x \\\n\n\n  y\n")

    assert [(item.rule, item.span.first_line) for item in parsed.warnings] == [
        ("NoEmptyContinuation", 5)
    ]


def test_parsing_keeps_the_text_for_excerpts() -> None:
    parsed: Dockerfile = parse(b"FROM a\n")

    assert parsed.text == "FROM a\n"


class TestSeveralErrors:
    def test_independent_errors_are_reported_together(self) -> None:
        text = "FROM a\nENV x\nCOPY a\nRUN --netwrk=x y\nRUN ok\nFROM\nUSER\n"

        with pytest.raises(DockerfileError) as caught:
            parse(text)

        error = caught.value
        assert error.reason == "ENV must have two arguments"  # the reference's lexer stops here
        assert [(other.span and other.span.first_line) for other in error.others] == [3, 4, 6, 7]

    def test_errors_of_the_lexer_come_first(self) -> None:
        with pytest.raises(DockerfileError) as caught:
            parse('FROM a\nCOPY a\nCMD ["a", 1]\n')

        assert caught.value.span is not None
        assert caught.value.span.first_line == 3
        assert [other.span.first_line for other in caught.value.others if other.span] == [2]

    def test_lost_text_is_one_error(self) -> None:
        with pytest.raises(DockerfileError) as caught:
            parse("FROM a\nRUN x &&\n  first\n  second\n  third\nCOPY x\n")

        assert caught.value.reason == "unknown instruction: first"
        assert len(caught.value.others) == 1

    def test_a_missing_stage_is_one_error(self) -> None:
        with pytest.raises(DockerfileError) as caught:
            parse("RUN a\nRUN b\nRUN c\n")

        assert caught.value.reason == "no build stage in current context"
        assert caught.value.others == ()

    def test_a_bad_from_takes_no_others_with_it(self) -> None:
        with pytest.raises(DockerfileError) as caught:
            parse("FROM a b\nRUN b\n")

        assert caught.value.others == ()

    def test_at_most_twenty_are_reported(self) -> None:
        with pytest.raises(DockerfileError) as caught:
            parse("FROM a\n" + "USER\n" * 100)

        assert len(caught.value.others) == 19

    def test_report_shows_each_with_hint_and_caret(self) -> None:
        text = "FROM a\nENV x\nRUN  --netwrk=x y\n"
        with pytest.raises(DockerfileError) as caught:
            parse(text)

        report = render_errors(caught.value, text)

        assert "ENV must have two arguments\nhint: Write ENV x=value.\n" in report
        assert "(did you mean network?)\n" in report
        assert "   3 | >>> RUN  --netwrk=x y\n     |          ^" in report


@pytest.mark.timeout(10)
def test_endless_continuation_is_refused() -> None:
    with pytest.raises(DockerfileSyntaxError, match="continued over more than 65536 lines"):
        parse("FROM a\n" + "RUN a \\\n" * 300_000)
