"""Golden vectors for every rule and country of both tables, in the reference and in the fast path."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from onboarding.identity import fast, phones, reference, rules

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
VECTORS = [
    pytest.param(table, field, country, value, expected, id=f"{table}-{field}-{number}")
    for table, fields in GOLDEN.items()
    for field, vectors in fields.items()
    for number, (country, value, expected) in enumerate(vectors)
]


@pytest.mark.parametrize(("table", "field", "country", "value", "expected"), VECTORS)
def test_standard_form(table, field, country, value, expected):
    rule_table = rules.load(table)
    assert reference.standardise(rule_table, field, value, country) == expected
    column = fast.encoded(pa.array([value, None]), False)
    result = fast.Standardiser(rule_table).column(field, column, fast.Countries([country]))
    assert result.rows().to_pylist() == [expected, None]
    digest = hashlib.sha256(expected.encode()).hexdigest() if expected is not None else None
    assert fast.hashed(column, result).rows().to_pylist() == [digest, None]


def test_every_rule_has_vectors_for_every_country_it_treats_apart():
    for name in rules.NAMES:
        table = rules.load(name)
        for field in rules.FIELDS:
            assert GOLDEN[name][field]
        countries = {field: {vector[0] for vector in GOLDEN[name][field]} for field in rules.FIELDS}
        if name == rules.AMAZON_ADS:
            assert set(table.maps["states"]) <= countries["state"]
            assert set(table.maps["postal-codes"]) - {""} <= countries["zip"]
            assert set(table.maps["address-words"]) - {""} <= countries["address"]
            assert {"US", "CA", *phones.STRUCTURED} <= countries["phone"]
        else:
            assert set(table.maps["phone-prefixes"]) <= countries["phone"]
            assert set(table.maps["country-street-words"]) <= countries["address"]


def test_a_hash_is_known_and_kept():
    digest = hashlib.sha256(b"ann").hexdigest()
    table = rules.load(rules.AMAZON_ADS)
    for field in rules.FIELDS:
        assert reference.standardise_and_hash(table, field, digest.upper(), "US") == digest
        assert reference.standardise_and_hash(table, field, f" {digest} ", "US") == digest


def test_tables_are_data_and_unknown_names_are_refused():
    with pytest.raises(KeyError, match="amazon-ads-1"):
        rules.load("amazon-ads-2")
    published = rules.load(rules.AMAZON_ADS)
    assert published.words("US")["KEY"] == "KEY"  # the later map wins
    assert {deviation.name for deviation in published.deviations} >= {"address-after-split", "empty-is-null"}
