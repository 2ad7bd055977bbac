"""The Dockerfile language: text in, frozen values out. Nothing here reads, writes or looks up.

    parse.parse(text)               text -> document.Dockerfile with its document.Stage values
    instructions                    one class per instruction; strings as written, not expanded
    stages                          global scope, bases, dependencies, reachable stages
    words.expand(word, variables)   quotes, escapes, $variables; expand_document for heredocs
    mounts.resolve_mounts           RUN --mount
    ports, chmod, values            EXPOSE words, --chmod, durations, signals, sizes
    ignore, globs                   .dockerignore and --exclude; wildcards of COPY and ADD
    errors                          DockerfileError with a Span; render_excerpt

Inside, the steps are source (physical to logical lines), statements (a line split as its
instruction wants it), flags, parse. Everything follows BuildKit, its quirks included: a Dockerfile
that builds there means the same here.
"""
