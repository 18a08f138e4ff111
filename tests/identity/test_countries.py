"""Every country that the rules know has a name."""

from onboarding.guide.identity_questions import Country
from onboarding.identity import countries, rules


def test_every_country_of_the_rules_has_a_name():
    for table in rules.NAMES:
        codes = {code.upper() for code in rules.load(table).maps["countries"].values()}
        assert codes <= set(countries.names()), table
    assert all(name and name != code for code, name in countries.names().items())


def test_the_choices_are_names_in_the_order_of_names():
    choices = dict(Country.base_fields["country"].choices)
    assert list(choices)[:3] == ["", "US", "CA"] and choices["AT"] == "Austria (AT)"
    others = list(choices.values())[10:]
    assert others[:3] == ["Afghanistan (AF)", "Åland Islands (AX)", "Albania (AL)"]
    assert len(others) > 200 and not any(label in choices for label in others)


def test_a_code_without_a_name_stays_a_code():
    assert (countries.in_words("XZ"), countries.in_words("")) == ("XZ", "")
