"""The fast path gives what the plain reference implementation gives, whatever the input."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onboarding.identity import fast, phones, reference, rules

COUNTRIES = ["US", "CA", "GB", "DE", "FR", "ES", "IT", "IN", "JP", "MX", "AU", None]
NASTY = [
    "",
    " ",
    "\0",
    "e\u0301",
    "\u0301",
    "José",
    "Jose\u0301",
    "İstanbul",
    "ß",
    "ẞ",
    "Ångström",
    "مرحبا",
    "\u202eabc",
    "👩‍👩‍👧",
    "東京都",
    "１２３",
    "C/O",
    "c/o Ann",
    "12-B",
    "12-14",
    "12#5",
    "#",
    "##",
    "12-B#5-C",
    "½-B",
    "a@b",
    "@",
    "a@b@c",
    "A <a@b.c>",
    "< a@b.c",
    "a(at)b.c",
    "+1 (206) 555-0100",
    "206.555.0100",
    "12065550100",
    "0012065550100",
    "01149301234567",
    "5550100",
    "+",
    "1-800-FLOWERS",
    "+49 30 123456",
    "030/123456",
    "0049 30 123456",
    "4930123456",
    "020 7946 0958",
    "+44 (0)20 7946 0958",
    "+33 (0)1 23 45 67 89",
    "06 1234 5678",
    "+39 06 12345678",
    "3912345678",
    "090-1234-5678",
    "0" * 12,
    "2139",
    "501",
    "2139-4301",
    "21394301",
    "98101-1234",
    "SW1A 1AA",
    "K1A 0B1",
    "100-0001",
    "Washington D.C.",
    "Málaga",
    "Thüringen",
    "Île-de-France",
    "New  York",
    "a" * 64,
    "A" * 64,
    " " + "b" * 64,
    "g" * 64,
    "a" * 63 + "\n",
    "aB" * 32 + " ",
    "Main St.,Apt[5]{x}(y)!",
    "\tMain\x1fStreet\x0b5",
    "West\u00a0Street",
    "a/b",
    "/",
    "C/",
    "XC/OY",
    "str. str",
    "p.zza v. C/ 5",
    "We st",
    "Park Way",
    "Mead Ow",
    "P.za",
    "n o",
    "12-14 Main",
    "12-14B",
    "12-14 B",
    "12- b",
    "C /O",
    "12- C /O 'b",
    "Rte",
    "4930123456",
    "442079460958",
    "492016449809",
    "12065550100",
    "012065550100",
]
PIECES = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text("0123456789 ()-./+#", max_size=18),
    st.text("abcdefABCDEF0123456789", min_size=60, max_size=66),
    st.text("NOWESTRDAVE#-12,. /C", max_size=24),
    st.lists(st.sampled_from(["C", "/", "O", "-", "'", "12", " ", "b", "We", "st", "park", "way"]), max_size=8).map(
        "".join
    ),
)
VALUES = st.lists(st.one_of(st.none(), PIECES, st.tuples(PIECES, PIECES).map("".join)), max_size=12)


def utf8(value):
    return None if value is None else value.encode("utf-8", "replace").decode()


def expected(table, field, values, countries):
    return [reference.standardise(table, field, v or None, c) for v, c in zip(values, countries, strict=True)]


@pytest.mark.parametrize("field", rules.FIELDS)
@pytest.mark.parametrize("table", rules.NAMES)
@settings(max_examples=40, deadline=None)
@given(values=VALUES, as_dictionary=st.booleans(), data=st.data())
@example(values=NASTY, as_dictionary=False, data=None)
@example(values=NASTY, as_dictionary=True, data=None)
def test_whole_columns_agree_with_single_values(table, field, as_dictionary, values, data):
    values = [utf8(value) for value in values]
    rule_table = rules.load(table)
    standardiser = fast.Standardiser(rule_table)
    if data is None:
        values = [value for value in values for _ in COUNTRIES]
        choices = [[COUNTRIES[i % len(COUNTRIES)] for i in range(len(values))]]
    else:
        choices = [data.draw(st.lists(st.sampled_from(COUNTRIES), min_size=len(values), max_size=len(values)))]
    column = fast.encoded(pa.array(values, pa.string()), as_dictionary)
    for countries in choices:
        codes = np.array([COUNTRIES.index(country) for country in countries], np.int32)
        result = standardiser.column(field, column, fast.Countries(COUNTRIES, codes))
        assert result.rows().to_pylist() == expected(rule_table, field, values, countries)
        assert result.arrow().to_pylist() == result.rows().to_pylist()
        digests = [
            reference.standardise_and_hash(rule_table, field, v or None, c)
            for v, c in zip(values, countries, strict=True)
        ]
        assert fast.hashed(column, result).rows().to_pylist() == digests


@pytest.mark.parametrize("field", rules.FIELDS)
@pytest.mark.parametrize("table", rules.NAMES)
def test_a_field_of_ten_megabytes(table, field):
    rule_table = rules.load(table)
    values = ["Ab 1-c@" * 1_500_000, "é" * 100_000, "x"]
    result = fast.Standardiser(rule_table).column(field, fast.encoded(pa.array(values), False), fast.Countries(["US"]))
    assert result.rows().to_pylist() == expected(rule_table, field, values, ["US"] * 3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_telephone_numbers_of_every_country_with_a_fast_path(data):
    country = data.draw(st.sampled_from(["US", "CA", *phones.STRUCTURED]))
    code = {"US": "1", "CA": "1", "DE": "49", "ES": "34", "FR": "33", "GB": "44", "IN": "91", "IT": "39", "JP": "81"}[
        country
    ]
    prefix = st.sampled_from(["", "0", "00", "+" + code, "+" + code + "0", "00" + code, code, "010" + code, "1", "+"])
    number = st.tuples(prefix, st.text("0123456789", min_size=2, max_size=13)).map("".join)
    values = data.draw(st.lists(number, min_size=1, max_size=40))
    for name in rules.NAMES:
        table = rules.load(name)
        column = fast.encoded(pa.array(values), False)
        result = fast.Standardiser(table).column("phone", column, fast.Countries([country]))
        assert result.rows().to_pylist() == expected(table, "phone", values, [country] * len(values))


@pytest.mark.parametrize("field", rules.FIELDS)
def test_a_long_value_among_many_short_ones_needs_little_memory(field):
    values = ["Ab 1-c@x" * 1_000_000, *["Ann é", "1 Oak St", "x"] * 20_000]
    for as_dictionary in (False, True):
        column = fast.encoded(pa.array(values), as_dictionary)
        result = fast.Standardiser(rules.load(rules.AMAZON_ADS)).column(field, column, fast.Countries(["US"]))
        assert len(result) == len(values)
        assert result.rows()[1].as_py() == reference.standardise(rules.load(rules.AMAZON_ADS), field, "Ann é", "US")


def test_words_of_digits_are_replaced_where_a_map_names_them():
    plain = rules.load(rules.ENTITY_RESOLUTION)
    table = dataclasses.replace(plain, maps={**plain.maps, "number-words": {"5": "five", **plain.maps["number-words"]}})
    values = ["5 Main Street", "12 Main Street", "12 5 55", None]
    column = fast.Standardiser(table).column("address", fast.encoded(pa.array(values), False), fast.Countries(["US"]))
    assert column.values.to_pylist() == expected(table, "address", values, ["US"] * 4)
    assert column.values[0].as_py().startswith("five")
