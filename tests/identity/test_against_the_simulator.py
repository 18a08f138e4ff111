"""The simulator's own standardisers and population judge what is prepared here."""

from pathlib import Path

import pytest

from onboarding.identity import rules
from onboarding.identity.check import look
from onboarding.identity.prepare import prepare
from simulator.matching.job import MappedField, MappedTable, map_tables
from simulator.matching.sample import Plan, write_sample


class Prepared:
    """A prepared table as the simulator's job reads it."""

    format = "parquet"
    delimiter = ","

    def __init__(self, folder, table):
        self.name = table.name
        self.columns = [column.name for column in table.columns]
        self._paths = [Path(folder) / file.path for file in table.files]

    def files(self):
        for path in self._paths:
            yield path.name, path.open("rb")


def mapped(folder, result):
    for table in result.tables:
        columns = [column.as_dict() for column in table.columns]
        fields = tuple(
            MappedField(c["name"], c["er_type"], c["match_key"], c["hashed"]) for c in columns if c["er_type"]
        )
        yield MappedTable(Prepared(folder, table), fields)


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("country", ["US", "CA", "GB", "DE", "FR"])
def test_who_must_match_does_and_nobody_else(tmp_path, table, country):
    path = tmp_path / "sample.csv"
    truth = write_sample(Plan(rows=6000, countries={country: 1.0}, messy=0.5, seed=7), path)
    out = tmp_path / "out"
    result = prepare([str(path)], look([str(path)]).mapping(), str(out), country=country, rule_table=table)
    outcome = map_tables(list(mapped(out, result)))
    assert outcome.ok, outcome.error_details
    must = truth.must_match[f"hashed with {table}"]
    people, customers = outcome.metrics["totalMappedTargetRecords"], outcome.metrics["totalMappedSourceRecords"]
    assert must.people
    assert 0.995 * must.people <= people <= truth.known_rows
    assert 0.995 * must.customers <= customers
    if table == rules.AMAZON_ADS:
        # The other table knows no USA; such rows are read here as of the file's country, so a few more match.
        assert people <= must.people
        assert customers <= must.customers


@pytest.mark.parametrize("table", rules.NAMES)
@pytest.mark.parametrize("country", ["US", "DE"])
def test_strangers_do_not_match(tmp_path, table, country):
    path = tmp_path / "strangers.csv"
    write_sample(Plan(rows=4000, countries={country: 1.0}, messy=0.5, strangers=1.0, seed=8), path)
    out = tmp_path / "out"
    result = prepare([str(path)], look([str(path)]).mapping(), str(out), country=country, rule_table=table)
    outcome = map_tables(list(mapped(out, result)))
    assert outcome.ok, outcome.error_details
    assert outcome.metrics["totalMappedTargetRecords"] == 0
