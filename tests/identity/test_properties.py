"""What standardising promises for any input: idempotent, never raises, never lengthens a hash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboarding.identity import reference, rules

COUNTRIES = st.sampled_from(["US", "CA", "GB", "DE", "FR", "ES", "IT", "IN", "JP", "MX", None])
IDEMPOTENT = ("name", "email", "city", "state", "zip", "country")
"""Addresses lose the blanks between words, and telephone numbers their plus: see below."""


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
@settings(max_examples=60, deadline=None)
@given(value=st.text(max_size=80), country=COUNTRIES)
def test_any_text_has_a_standard_form_or_none(table, field, value, country):
    rule_table = rules.load(table)
    standard = reference.standardise(rule_table, field, value, country)
    assert standard is None or standard
    if field in IDEMPOTENT and standard is not None:
        assert reference.standardise(rule_table, field, standard, country) == standard
    digest = reference.standardise_and_hash(rule_table, field, value, country)
    assert (digest is None) == (standard is None)
    if digest is not None:
        assert reference.is_hash(digest)
        assert reference.standardise_and_hash(rule_table, field, digest, country) == digest


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
@settings(max_examples=20, deadline=None)
@given(value=st.text("0123456789abcdefABCDEF", min_size=64, max_size=64), country=COUNTRIES)
def test_a_hash_is_never_lengthened(table, field, value, country):
    assert reference.standardise(rules.load(table), field, value, country) == value.lower()


@settings(max_examples=200, deadline=None)
@given(value=st.text("0123456789+ -()", max_size=18), country=COUNTRIES)
def test_telephone_numbers_are_stable_once_their_plus_is_back(value, country):
    table = rules.load(rules.AMAZON_ADS)
    standard = reference.standardise(table, "phone", value, country)
    if standard is not None:
        assert reference.standardise(table, "phone", "+" + standard, country) == standard


@settings(max_examples=100, deadline=None)
@given(
    number=st.integers(1, 9999),
    words=st.lists(
        st.sampled_from(["Main", "Street", "North", "Oak", "Apt", "Avenue", "Rd", "Suite"]), min_size=1, max_size=5
    ),
    country=COUNTRIES,
)
def test_addresses_with_a_number_are_stable(number, words, country):
    for name in rules.NAMES:
        standard = reference.standardise(rules.load(name), "address", f"{number} {' '.join(words)}", country)
        assert reference.standardise(rules.load(name), "address", standard, country) == standard


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
def test_lone_surrogates_null_bytes_and_ten_megabytes_do_not_raise(table, field):
    rule_table = rules.load(table)
    for value in ("\ud800", "\0\0", "a@\0b", "é1-" * 3_000_000, "🏠" * 1000):
        reference.standardise_and_hash(rule_table, field, value, "US")
