"""What a finding says of itself."""

from imagekit.dockerfile.errors import Span
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.findings import Finding


def test_a_finding_knows_its_rule_and_its_line() -> None:
    finding = Finding(
        rule="UndefinedVar",
        message="Usage of undefined variable '$x'",
        span=Span(file_name="D", first_line=2, last_line=4),
    )

    assert finding.about is rules.UNDEFINED_VAR
    assert finding.detail == finding.message
    assert finding.short == "UndefinedVar: Usage of undefined variable '$x' (line 2)"
