"""What standardising promises for any input: idempotent, never raises, never lengthens a hash."""

from random import Random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboarding.identity import reference, rules

COUNTRIES = st.sampled_from(["US", "CA", "GB", "DE", "FR", "ES", "IT", "IN", "JP", "MX", None])
ADDRESSES = st.lists(
    st.sampled_from(
        [*"C/O#-.' ", "C/O", "12", "3", "B", "W", "no", "park", "way", "Mead", "ow", "P.za", "½", "é", "St"]
    ),
    max_size=9,
).map("".join)
NUMBERS = st.text("0123456789+ -()", max_size=18)
PIECES = {"address": ADDRESSES, "phone": NUMBERS}


def read_otherwise(value, country, standard):
    """Whether a telephone number's digits without plus are also a possible number of the row's country, and the number
    is no valid one of that country. Which of the two is meant cannot be told from the digits: the only values that
    `amazon-ads-1` may change again."""
    if country is None:
        return False
    number = phonenumbers.parse("+" + standard)
    own = number.country_code == phonenumbers.country_code_for_region(country)
    if own and phonenumbers.is_valid_number(number):
        return False
    as_national = phonenumbers.parse(standard, country)
    return phonenumbers.is_possible_number(as_national) and as_national != number


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data(), country=COUNTRIES)
def test_any_text_has_a_standard_form_or_none_and_keeps_it(table, field, data, country):
    value = data.draw(st.one_of(st.text(max_size=80), PIECES.get(field, st.nothing())))
    rule_table = rules.load(table)
    standard = reference.standardise(rule_table, field, value, country)
    assert standard is None or standard
    if standard is not None and not (
        (table, field) == (rules.AMAZON_ADS, "phone")
        and not reference.is_hash(standard)
        and read_otherwise(value, country, standard)
    ):
        assert reference.standardise(rule_table, field, standard, country) == standard
    digest = reference.standardise_and_hash(rule_table, field, value, country)
    assert (digest is None) == (standard is None)
    if digest is not None:
        assert reference.is_hash(digest)
        assert reference.standardise_and_hash(rule_table, field, digest, country) == digest


@pytest.mark.parametrize("table", rules.NAMES)
@settings(max_examples=300, deadline=None)
@given(value=ADDRESSES, country=COUNTRIES)
def test_addresses_of_what_splits_and_joins_are_stable(table, value, country):
    standard = reference.standardise(rules.load(table), "address", value, country)
    if standard is not None:
        assert reference.standardise(rules.load(table), "address", standard, country) == standard


@pytest.mark.parametrize("table", rules.NAMES)
def test_every_word_of_the_maps_is_stable(table):
    rule_table = rules.load(table)
    for country in ("US", "GB", "FR", "ES", "IT", None):
        for word in rule_table.address_words(country):
            standard = reference.standardise(rule_table, "address", word, country)
            assert reference.standardise(rule_table, "address", standard, country) == standard
    for field in ("state", "country"):
        entries = rule_table.maps["states" if field == "state" else "countries"]
        for country, words in entries.items():
            for word in words if isinstance(words, dict) else [country]:
                standard = reference.standardise(rule_table, field, word, country)
                assert reference.standardise(rule_table, field, standard, country) == standard


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_valid_telephone_numbers_of_the_row_s_country_are_stable(country):
    table, random = rules.load(rules.AMAZON_ADS), Random(country)
    valid = [phonenumbers.example_number(country)]
    for _ in range(300):
        digits = "".join(random.choices("0123456789", k=random.randint(6, 11)))
        number = phonenumbers.PhoneNumber(phonenumbers.country_code_for_region(country), int(digits))
        whole = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
        valid += [number] if whole and phonenumbers.is_valid_number(number) else []
    for number in valid:
        written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        standard = reference.standardise(table, "phone", written, country)
        assert standard == f"{number.country_code}{phonenumbers.national_significant_number(number)}"
        assert reference.standardise(table, "phone", standard, country) == standard


@pytest.mark.parametrize(
    ("country", "value", "standard", "again"),
    [
        ("US", "+49 30 123456", "4930123456", "14930123456"),
        ("US", "011 49 30 123456", "4930123456", "14930123456"),
        ("IT", "+39 12345678", "3912345678", "393912345678"),
    ],
)
def test_golden_vectors_forbid_more(country, value, standard, again):
    """Ten digits are a national number where a row's country has such: both readings are published."""
    table = rules.load(rules.AMAZON_ADS)
    assert reference.standardise(table, "phone", value, country) == standard
    assert reference.standardise(table, "phone", standard, country) == again
    assert read_otherwise(value, country, standard)


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
@settings(max_examples=20, deadline=None)
@given(value=st.text("0123456789abcdefABCDEF", min_size=64, max_size=64), country=COUNTRIES)
def test_a_hash_is_never_lengthened(table, field, value, country):
    assert reference.standardise(rules.load(table), field, value, country) == value.lower()


@settings(max_examples=200, deadline=None)
@given(value=NUMBERS, country=COUNTRIES)
def test_telephone_numbers_are_stable_once_their_plus_is_back(value, country):
    table = rules.load(rules.AMAZON_ADS)
    standard = reference.standardise(table, "phone", value, country)
    if standard is not None:
        assert reference.standardise(table, "phone", "+" + standard, country) == standard


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
def test_lone_surrogates_null_bytes_and_ten_megabytes_do_not_raise(table, field):
    rule_table = rules.load(table)
    for value in ("\ud800", "\0\0", "a@\0b", "é1-" * 3_000_000, "🏠" * 1000):
        reference.standardise_and_hash(rule_table, field, value, "US")
