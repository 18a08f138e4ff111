"""What the truth of samples stands on: nobody shares a key with anybody else, and the fast hashes are the true ones."""

import numpy as np
import phonenumbers
import pytest

from simulator.matching.population import (
    COUNTRIES,
    SAME_IN_BOTH_TABLES,
    People,
    combined,
    hashed_keys,
    people,
    short_key,
    short_keys,
)
from simulator.matching.standardise import RULE_TABLES, digest, standardise

FIELD = {"Email": "email", "Phone": "phone", "Address": "address", "Postal": "zip", "City": "city"}


def written(known, part, who):
    if part == "Email":
        return known.email(who).to_list()
    if part == "Phone":
        return ["+" + known.calling + number for number in known.phone(who)]
    if part == "Address":
        return known.address(who).to_list()
    words, place = {
        "FirstName": (known.first, known.first_name),
        "LastName": (known.last, known.last_name),
        "Postal": (known.zips, known.zip_code),
        "City": (known.cities, lambda who: known.house(who).city),
    }[part]
    return [words[at] for at in place(who)]


@pytest.mark.parametrize("country", COUNTRIES)
@pytest.mark.parametrize("table", RULE_TABLES)
def test_keys_are_those_of_the_standardised_written_values(country, table):
    known = people(country)
    who = np.concatenate([np.arange(60), np.arange(known.size - 60, known.size + 60), np.arange(7, 200_000, 2777)])
    for part in ("FirstName", "LastName", "Email", "Phone", "Address", "Postal", "City"):
        expected = [
            short_key(standardise(table, FIELD.get(part, "name"), value, country))
            for value in written(known, part, who)
        ]
        assert known.keys(part, table, who).tolist() == expected, part


@pytest.mark.parametrize("country", COUNTRIES)
def test_nobody_shares_an_email_phone_device_or_house(country):
    known = people(country)
    who = np.concatenate([np.arange(known.size), np.arange(known.size, known.size + 100_000)])
    city, zip_code = (known.keys(part, "amazon-ads-1", who) for part in ("City", "Postal"))
    address = known.keys("Address", "amazon-ads-1", who)
    again = known.address_keys_again("entity-resolution-1", who, "amazon-ads-1", address)
    for keys in (address, again):
        assert len(np.unique(combined([keys, city]))) == len(who)
        assert len(np.unique(combined([keys, zip_code]))) == len(who)
    some = who[::7]
    for part in ("Email", "Phone", "MAID"):
        assert len(np.unique(known.keys(part, "amazon-ads-1", some))) == len(some)


@pytest.mark.parametrize("country", COUNTRIES)
def test_people_are_the_same_for_any_selection(country):
    known = people(country)
    everybody = known.email(np.arange(1000))
    assert known.email(np.array([999, 3])).to_list() == [everybody[999], everybody[3]]
    assert people(country).address(np.array([5])).to_list() == People(country).address(np.array([5])).to_list()


@pytest.mark.parametrize("country", COUNTRIES)
def test_phones_are_possible(country):
    known = people(country)
    for number in known.phone(np.arange(0, known.size, 1999)):
        parsed = phonenumbers.parse(f"+{known.calling}{number}")
        assert phonenumbers.is_possible_number(parsed)
        assert phonenumbers.is_possible_number(phonenumbers.parse(known.trunk + number, country))


@pytest.mark.parametrize("country", COUNTRIES)
def test_what_is_said_to_hash_alike_does(country):
    known = people(country)
    who = np.arange(0, known.size, 97)
    for part in SAME_IN_BOTH_TABLES:
        assert (known.keys(part, RULE_TABLES[0], who) == known.keys(part, RULE_TABLES[1], who)).all()


def test_addresses_by_the_other_table_are_hashed_anew_only_where_they_differ():
    known = people("DE")
    who = np.arange(5000)
    ads = known.keys("Address", "amazon-ads-1", who)
    again = known.address_keys_again("entity-resolution-1", who, "amazon-ads-1", ads)
    assert (again == known.keys("Address", "entity-resolution-1", who)).all()
    assert (again != ads).any()


def test_short_keys_take_lower_case_hashes_alone():
    import polars as pl

    good = digest("jane@example.com")
    keys, there = short_keys(pl.Series([good, good.upper(), good[:63], None, "x" * 64, "é" * 32]))
    assert there.tolist() == [True, False, False, False, False, False]
    assert int(keys[0]) == short_key("jane@example.com") == int(hashed_keys(pl.Series(["jane@example.com"]))[0])


@pytest.mark.parametrize(("country", "size"), [("XX", None), ("US", 0), ("GB", 2_000_000)])
def test_impossible_populations_are_refused(country, size):
    with pytest.raises(ValueError, match="people"):
        People(country, size if size != 0 else -1)
