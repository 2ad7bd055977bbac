"""Build checks: what is legal in a Dockerfile and still worth a word. Nothing is read or looked up.

    check.lint(text, settings)      text -> findings.LintReport with its findings.Finding values
    rules.RULES                     the 22 rules by name, description and address
    documentation.explain(name)     what a rule is about, with a bad and a good example
    options                         ``# check=skip=...;experimental=...;error=true``
    fix.fix(text, findings)         the same text with what can be corrected safely corrected
    render_text, render_json        as ``docker build --check`` prints them
    render_sarif                    SARIF 2.1.0, for code scanning

Inside, a file is looked at three times, as BuildKit does it, and the findings come in that order:
written (each instruction as it is spelled), bases (each FROM), steps (each stage that is built,
with the variables it has there). Agreement with BuildKit to the letter is the aim: names, messages,
lines, and what is reported twice.

Source: BuildKit frontend/dockerfile/linter, frontend/dockerfile/dockerfile2llb/validations.go.
"""
