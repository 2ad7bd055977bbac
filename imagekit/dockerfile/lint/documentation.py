"""What each rule is about, with an example that breaks it and one that does not.

The texts are our own; what the rules find is the reference's.

Source: BuildKit frontend/dockerfile/linter, frontend/dockerfile/docs/rules.
"""

import textwrap
from typing import Final

import msgspec

from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.rules import RULES, Rule
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.suggestions import nearest

_COLUMNS = 88


class Documentation(msgspec.Struct, frozen=True, kw_only=True):
    """One rule explained. ``bad`` and ``good`` are whole Dockerfiles.

    ``ignore`` is the ignore file that they stand beside; ``fix`` says what ``--fix`` does, "" when
    it leaves the matter to a person.
    """

    rule: Rule
    text: str
    bad: str
    good: str
    ignore: str = ""
    fix: str = ""


def documentation_of(name: str) -> Documentation:
    """Return what there is about the rule called ``name``, in any case, or as in its address.

    Raises:
        DockerfileError: there is no such rule.
    """
    wanted = name.strip().replace("-", "").lower()
    for found in DOCUMENTATION:
        if found.rule.name.lower() == wanted:
            return found
    names = {rule.name.lower(): rule.name for rule in RULES}
    close = nearest(wanted, names)
    suggestion = "" if close is None else f" (did you mean {names[close]}?)"
    raise DockerfileError(
        f"unknown rule {go_quote(name)}{suggestion}",
        hint=f"Choose one of: {', '.join(names.values())}.",
    )


def explain(name: str) -> str:
    """Return the rule called ``name`` explained for a terminal, without a final newline.

    Raises:
        DockerfileError: there is no such rule.
    """
    found = documentation_of(name)
    rule = found.rule
    kind = " (experimental)" if rule.is_experimental else ""
    lines = [f"{rule.name}{kind}", "", *_wrapped(rule.description), "", *_wrapped(found.text), ""]
    if found.ignore:
        lines += [".dockerignore:", "", _indented(found.ignore), ""]
    lines += ["Bad:", "", _indented(found.bad), "", "Good:", "", _indented(found.good), ""]
    lines.append(f"--fix: {found.fix or 'no, the right text is for you to decide'}")
    lines.append(f"Skip it with: {_how_to_skip(rule)}")
    if rule.url:
        lines.append(f"More: {rule.url}")
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _how_to_skip(rule: Rule) -> str:
    if rule.is_experimental:
        return f"nothing; it runs only with # check=experimental={rule.name}"
    return f"# check=skip={rule.name}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip("\n").split("\n"))


def _about(
    rule: Rule, text: str, *, bad: str, good: str, ignore: str = "", fix: str = ""
) -> Documentation:
    return Documentation(rule=rule, text=text, bad=bad, good=good, ignore=ignore, fix=fix)


_STAGES: Final = (
    _about(
        rules.STAGE_NAME_CASING,
        "Stage names mean the same in any case, except in FROM, where a base is looked up as "
        "written: `FROM Builder` does not find the stage `Builder`. Lower case avoids the "
        "trap and tells names from keywords.",
        bad="FROM alpine AS Builder\n",
        good="FROM alpine AS builder\n",
        fix="writes the name in lower case where the stage begins",
    ),
    _about(
        rules.FROM_AS_CASING,
        "FROM and AS belong to one instruction and read best in one case. Nothing is said "
        "when FROM itself is in mixed case: ConsistentInstructionCasing says it.",
        bad="FROM alpine as builder\n",
        good="FROM alpine AS builder\n",
        fix="writes AS in the case of FROM",
    ),
    _about(
        rules.DUPLICATE_STAGE_NAME,
        "Of two stages with one name the later is used from there on, and the earlier can be "
        "reached by number only. Nearly always it is a slip of copy and paste.",
        bad="FROM debian AS tools\nRUN make\n\nFROM golang AS tools\nRUN go build\n",
        good="FROM debian AS c-tools\nRUN make\n\nFROM golang AS go-tools\nRUN go build\n",
    ),
    _about(
        rules.RESERVED_STAGE_NAME,
        "`scratch` is the empty base image and `context` the build context. A stage of that "
        "name cannot be used for what it says.",
        bad="FROM alpine AS scratch\n",
        good="FROM alpine AS base\n",
    ),
    _about(
        rules.UNDEFINED_ARG_IN_FROM,
        "FROM sees the arguments that stand before the first FROM, and the predefined ones "
        "such as TARGETPLATFORM. Any other name is empty there; often it is misspelled, or "
        "declared inside a stage.",
        bad="FROM node:22${VARIANT}\n",
        good='ARG VARIANT="-alpine"\nFROM node:22${VARIANT}\n',
    ),
    _about(
        rules.INVALID_DEFAULT_ARG_IN_FROM,
        "Without build arguments, the name in FROM is empty or no image name. Who builds the "
        "file without knowing of the argument gets an error. Give the argument a default that "
        "works.",
        bad="ARG TAG\nFROM busybox:${TAG}\n",
        good="ARG TAG=latest\nFROM busybox:${TAG}\n",
    ),
    _about(
        rules.REDUNDANT_TARGET_PLATFORM,
        "A stage is built for the target platform anyway.",
        bad="FROM --platform=$TARGETPLATFORM alpine\n",
        good="FROM alpine\n",
    ),
    _about(
        rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED,
        "A constant platform builds the same for every target, which is rarely wanted. Use "
        "$BUILDPLATFORM for stages that run on the machine that builds. A stage that names "
        "its platform in its own name is taken to mean it.",
        bad="FROM --platform=linux/amd64 alpine AS base\n",
        good="FROM --platform=$BUILDPLATFORM alpine AS base\n",
    ),
    _about(
        rules.INVALID_BASE_IMAGE_PLATFORM,
        "The image that was pulled says that it is for another platform than the one asked "
        "for. It has one platform only, or its index is wrong. What runs in it may not start.",
        bad="FROM --platform=$TARGETPLATFORM example/only-arm64\n",
        good="FROM example/for-many-platforms\n",
    ),
    _about(
        rules.INVALID_DEFINITION_DESCRIPTION,
        "A comment right above a stage with a name or above ARG is its description, shown by "
        "`--call=outline`, when it begins with the name. Any other comment there looks like a "
        "description that was forgotten. Put a line with just # between it and the "
        "instruction if it is none; a blank line is not enough.",
        bad=(
            "# check=experimental=InvalidDefinitionDescription\n"
            "# the version to fetch\nARG VERSION=1\nFROM scratch\n"
        ),
        good=(
            "# check=experimental=InvalidDefinitionDescription\n"
            "# VERSION is the version to fetch\nARG VERSION=1\nFROM scratch\n"
        ),
    ),
)

_INSTRUCTIONS: Final = (
    _about(
        rules.NO_EMPTY_CONTINUATION,
        "A blank line inside an instruction is skipped, so the instruction goes on where it "
        "seems to end. A line with a comment is allowed.",
        bad="FROM alpine\nRUN echo one && \\\n\n    echo two\n",
        good="FROM alpine\nRUN echo one && \\\n#\n    echo two\n",
        fix="removes the blank lines",
    ),
    _about(
        rules.CONSISTENT_INSTRUCTION_CASING,
        "Instructions may be written in any case, and are easiest to see in one. The case of "
        "the majority is taken, upper case when there is none; mixed case counts for neither.",
        bad="FROM alpine\nrun echo one\n",
        good="FROM alpine\nRUN echo one\n",
        fix="writes the instruction in the case of the majority",
    ),
    _about(
        rules.JSON_ARGS_RECOMMENDED,
        "As text, CMD and ENTRYPOINT run below `/bin/sh -c`. The shell is then process 1: "
        "signals reach it and not the program, so stopping the container takes ten seconds "
        "and kills. As a JSON array the program is started by itself. Write `exec` or set "
        "SHELL if a shell is needed.",
        bad="FROM alpine\nENTRYPOINT my-program start\n",
        good='FROM alpine\nENTRYPOINT ["my-program", "start"]\n',
        fix="no: without the shell, the text could mean something else",
    ),
    _about(
        rules.MAINTAINER_DEPRECATED,
        "The author of an image is a label today, which tools can read and filter by.",
        bad="FROM alpine\nMAINTAINER moby@example.com\n",
        good='FROM alpine\nLABEL org.opencontainers.image.authors="moby@example.com"\n',
        fix="writes the label instead; the field `author` of the image is then empty",
    ),
    _about(
        rules.WORKDIR_RELATIVE_PATH,
        "The first WORKDIR of a stage is below that of the base image, which may change with "
        "the next version of the image.",
        bad="FROM nginx\nWORKDIR usr/share/nginx/html\n",
        good="FROM nginx\nWORKDIR /usr/share/nginx/html\n",
        fix="no: only you know which directory is meant; the finding names the place",
    ),
    _about(
        rules.UNDEFINED_VAR,
        "The variable is set neither by ENV or ARG above nor by the base image, and so is "
        "empty. A default such as ${NAME:-text} does not declare it; `ARG NAME` does.",
        bad="FROM alpine\nARG foo\nCOPY $fo .\n",
        good="FROM alpine\nARG foo\nCOPY $foo .\n",
    ),
    _about(
        rules.MULTIPLE_INSTRUCTIONS_DISALLOWED,
        "Of CMD, ENTRYPOINT and HEALTHCHECK only the last in a stage counts. The finding "
        "stands at the one that is lost.",
        bad='FROM alpine\nCMD ["one"]\nCMD ["two"]\n',
        good='FROM alpine\nCMD ["two"]\n',
    ),
    _about(
        rules.LEGACY_KEY_VALUE_FORMAT,
        "`ENV key value` takes all the rest of the line as one value. `key=value` is clearer, "
        "and several can stand in one instruction.",
        bad="FROM alpine\nENV DIR /depot\n",
        good="FROM alpine\nENV DIR=/depot\n",
        fix="writes key=value, in quotes where the value needs them",
    ),
    _about(
        rules.SECRETS_USED_IN_ARG_OR_ENV,
        "Values of ARG and ENV stay in the image or its history, where everybody who has the "
        "image can read them. Mount a secret instead. Only names are looked at: those with a "
        "word such as key, token or password in them, unless public, file or version is there "
        "too.",
        bad="FROM alpine\nARG AWS_SECRET_ACCESS_KEY\nRUN aws s3 cp s3://a .\n",
        good="FROM alpine\nRUN --mount=type=secret,id=aws,target=/root/.aws aws s3 cp s3://a .\n",
    ),
    _about(
        rules.COPY_IGNORED_FILE,
        "The file is kept out of the build context, so COPY will not find it. Nothing is said "
        "when the ignore file has patterns that begin with `!`.",
        bad="FROM scratch\nCOPY tmp/log /log\n",
        good="FROM scratch\nCOPY src/log /log\n",
        ignore="tmp\n",
    ),
    _about(
        rules.EXPOSE_PROTO_CASING,
        "tcp, udp and sctp are understood in any case, and written in lower case everywhere else.",
        bad="FROM alpine\nEXPOSE 80/TcP\n",
        good="FROM alpine\nEXPOSE 80/tcp\n",
        fix="writes the protocol in lower case",
    ),
    _about(
        rules.EXPOSE_INVALID_FORMAT,
        "EXPOSE says which port the program listens on. Addresses and ports of the host are "
        "dropped; they are given when the container is run.",
        bad="FROM alpine\nEXPOSE 127.0.0.1:8080:80\n",
        good="FROM alpine\nEXPOSE 80\n",
        fix="removes address and host port",
    ),
)

DOCUMENTATION: Final[tuple[Documentation, ...]] = tuple(
    sorted((*_STAGES, *_INSTRUCTIONS), key=lambda one: RULES.index(one.rule))
)
"""All of it, in the order of the rules."""
