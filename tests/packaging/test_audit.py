"""What `make audit` makes of pip-audit's answer."""

from scripts.audit import UNKNOWN, verdict

FINE = {"name": "django", "version": "5.2", "vulns": []}
BAD = {"name": "redis", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNASKED = {"name": "rq", "skip_reason": "not found"}


def test_a_vulnerability_is_named_with_its_cure(capsys):
    assert verdict([FINE, BAD, UNASKED]) == 1
    assert "redis 1.0: PYSEC-1, fixed in 1.1" in capsys.readouterr().out


def test_what_could_not_be_asked_is_not_taken_for_fine(capsys):
    assert verdict([FINE, UNASKED]) == UNKNOWN
    assert "1 of 2 packages could not be asked about: rq" in capsys.readouterr().out
    assert verdict([]) == UNKNOWN


def test_nothing_known():
    assert verdict([FINE]) == 0
