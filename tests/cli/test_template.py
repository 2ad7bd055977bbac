import pytest

from imagekit.cli.template import render_template

DOCUMENT = {
    "Id": "sha256:abc",
    "Config": {"Env": ["A=1", "B=2"], "User": "", "Labels": {"b": "2", "a": "1"}, "Cmd": None},
    "State": {"Running": True, "ExitCode": 0},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}}", "sha256:abc"),
        ("{{ .State.Running }} {{.State.ExitCode}}", "true 0"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ("{{json .Config.Cmd}}", "null"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ('{{index .Config.Labels "a"}}', "1"),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{len .Config.Env}}", "2"),
        ('{{join .Config.Env ","}}', "A=1,B=2"),
        ("{{upper .Id}}", "SHA256:ABC"),
        ("a\\tb\\n", "a\tb\n"),
        ("plain", "plain"),
        ("{{.Config.Cmd}}", "<no value>"),
    ],
)
def test_known_templates(template: str, text: str) -> None:
    assert render_template(template, DOCUMENT) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{.Nothing}}", "no field '.Nothing'; known here are Id, Config, State"),
        ("{{.Id.Deeper}}", "no field"),
        ("{{range .Config.Env}}x{{end}}", "cannot understand"),
        ("{{}}", "empty"),
        ("{{json}}", "cannot understand"),
        ("{{index .Config.Env 9}}", "index 9"),
        ("{{len Config}}", "cannot understand 'Config'"),
    ],
)
def test_other_templates_say_what_is_wrong(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        render_template(template, DOCUMENT)
