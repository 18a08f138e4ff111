"""The rule tables rendered as SQL: the DuckDB twin gives the golden vectors, and Trino's grammar takes the text."""

import json
import unicodedata
from functools import partial
from pathlib import Path
from random import Random

import duckdb
import pytest
import sqlglot

from onboarding.identity import reference, rules, trino
from onboarding.identity.columns import MEANINGS, Kind
from onboarding.identity.errors import BadMapping
from tests.identity.conftest import MAPPING

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
KIND_OF = {meaning.rule: kind for kind, meaning in MEANINGS.items() if meaning.rule}
NEEDS_THE_LIBRARY = {
    ("US", "206 555 0100 ext. 5"),
    ("US", "1-800-FLOWERS"),
    ("AU", "0412 345 678"),
    (None, "442079460958"),
    ("FR", "4930123456"),
}
"""Telephone numbers that only libphonenumber reads; in SQL they become null."""
ATHENA_LIMIT = 262_144


@pytest.fixture
def twin():
    connection = duckdb.connect()
    for form in ("NFC", "NFD"):
        connection.create_function(form.lower(), partial(unicodedata.normalize, form), ["VARCHAR"], "VARCHAR")
    return connection


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("field", rules.FIELDS)
def test_the_twin_gives_the_golden_vectors(twin, table, field):
    renderer = trino.Renderer(rules.load(table), trino.DuckDb())
    standard = renderer.standard(field, "v", "c")
    hashed = renderer.hashed("s", "v")
    maps = ", ".join(f"{sql} AS {name}" for name, sql in renderer.maps.items()) or "1 AS nothing"
    twin.execute("CREATE TABLE vectors (n INTEGER, c VARCHAR, v VARCHAR)")
    vectors = [
        vector for vector in GOLDEN[table][field] if field != "phone" or tuple(vector[:2]) not in NEEDS_THE_LIBRARY
    ]
    vectors += [["US", "AB" * 32, "ab" * 32], ["US", None, None]]
    twin.executemany("INSERT INTO vectors VALUES (?, ?, ?)", [[n, c, v] for n, (c, v, _) in enumerate(vectors)])
    rows = twin.execute(
        f"WITH m AS (SELECT {maps}), x AS (SELECT n, c, v, {standard} AS s FROM vectors CROSS JOIN m) "
        f"SELECT v, s, {hashed} FROM x ORDER BY n"
    ).fetchall()
    assert [(v, s) for v, s, _ in rows] == [(v, s) for _, v, s in vectors]
    digests = [None if s is None else s if reference.is_hash(v) else reference.hashed(s) for _, v, s in vectors]
    assert [digest for _, _, digest in rows] == digests


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("country", ["US", "GB", "FR", "ES", "IT", "DE", None])
def test_the_twin_repeats_what_the_reference_repeats(twin, table, country):
    rule_table, random = rules.load(table), Random(f"{table} {country}")
    pieces = [*"C/O#-.' ", "C/O", "12", "3", "B", "no", "mead", "ow", *sorted(rule_table.address_words(country))]
    values = ["".join(random.choices(pieces, k=random.randint(1, 6))) for _ in range(400)]
    values += [word + end for word in rule_table.address_words(country) for end in ("", " ")]
    renderer = trino.Renderer(rule_table, trino.DuckDb())
    standard = renderer.standard("address", "v", "c")
    maps = ", ".join(f"{sql} AS {name}" for name, sql in renderer.maps.items())
    twin.execute(
        "CREATE TABLE addresses AS SELECT unnest(range(len($1))) AS n, unnest($1) AS v, $2 AS c", [values, country]
    )
    rows = twin.execute(
        f"WITH m AS (SELECT {maps}) SELECT v, {standard} FROM addresses CROSS JOIN m ORDER BY n"
    ).fetchall()
    assert rows == [(value, reference.standardise(rule_table, "address", value, country)) for value in values]


def test_what_needs_the_library_is_null_and_never_wrong(twin):
    renderer = trino.Renderer(rules.load(rules.AMAZON_ADS), trino.DuckDb())
    standard = renderer.standard("phone", "v", "c")
    maps = ", ".join(f"{sql} AS {name}" for name, sql in renderer.maps.items()) or "1 AS nothing"
    for country, value in NEEDS_THE_LIBRARY:
        query = f"WITH m AS (SELECT {maps}) SELECT {standard} FROM (SELECT ? AS v, ? AS c) CROSS JOIN m"
        right = reference.standardise(rules.load(rules.AMAZON_ADS), "phone", value, country)
        assert twin.execute(query, [value, country]).fetchone()[0] in (None, right)


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("widths", [None, {Kind.EMAIL: 3, Kind.ADDRESS: 2}])
def test_athena_takes_the_statement(table, widths):
    mapping = {**MAPPING, "maid": Kind.MAID, "tcf": Kind.CONSENT}
    plan = trino.plan(
        "crm.people", "crm.prepared", "s3://bucket/prepared/", mapping, country="US", rule_table=table, widths=widths
    )
    assert len(plan.statement.encode()) < ATHENA_LIMIT
    parsed = sqlglot.parse_one(plan.statement, read="trino")
    assert isinstance(parsed, sqlglot.exp.Create)
    assert not list(parsed.find_all(sqlglot.exp.Command))
    names = [column.alias_or_name for column in parsed.expression.selects]
    assert names[:2] == ["customerid", "tcf"]
    assert ("email_3" in names) == bool(widths)


def test_the_whole_statement_runs_in_the_twin(twin):
    twin.execute("CREATE TABLE people (" + ", ".join(f'"{name}" VARCHAR' for name in MAPPING) + ")")
    row = ["c1", "Ann", "Lee", "Ann@X.com", "(206) 555-0100", "1 Main Street", "Seattle", "WA", "98101", "US"]
    other = ["c1", "Ann", "Lee", "ann@y.com", None, "1 Main St", "Seattle", "Washington", "98101-2", "US"]
    for values in (row, other, [None, *row[1:]], ["k" * 39, *row[1:]]):
        twin.execute(f"INSERT INTO people VALUES ({', '.join('?' * len(values))})", values)
    query = trino.select("people", MAPPING, trino.DuckDb(), country="US", widths={Kind.EMAIL: 2})
    result = twin.execute(query)
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, values, strict=True)) for values in result.fetchall()]
    assert len(rows) == 1
    table = rules.load(rules.AMAZON_ADS)
    expected = {
        MEANINGS[kind].column: reference.standardise_and_hash(table, MEANINGS[kind].rule, value, "US")
        for (_, kind), value in zip(MAPPING.items(), row, strict=True)
        if MEANINGS[kind].rule and kind is not Kind.EMAIL
    }
    assert {name: rows[0][name] for name in expected} == expected
    mails = {reference.hashed("ann@x.com"), reference.hashed("ann@y.com")}
    assert {rows[0]["email"], rows[0]["email_2"]} == mails


def test_a_mapping_without_key_is_refused():
    with pytest.raises(BadMapping):
        trino.plan("a.b", "a.c", "s3://x/y/", {"email": Kind.EMAIL})
