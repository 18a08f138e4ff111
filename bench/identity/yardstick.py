"""The yardstick: what `prepare` does by the rules of amazon-ads-1, done in the straightforward way with pandas.

Value by value, the row's own country, one row a key with further values in numbered columns, counts per field. A rule
that needs the row's country is applied to rows; `zipped` takes the two columns side by side instead, which is quicker.
"""

import pandas as pd

from onboarding.identity import reference, rules
from onboarding.identity.columns import COUNTRY_RULES, MAX_KEY_LENGTH, MEANINGS, Kind


def prepare_plainly(path, out, mapping, country, rows=None, zipped=False):
    """Reads a CSV file, standardises and hashes each value by itself, writes Parquet. Returns the number of rows."""
    table = rules.load(rules.AMAZON_ADS)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows)
    read = len(frame)
    key = next(column for column, kind in mapping.items() if kind is Kind.KEY)
    named = next(column for column, kind in mapping.items() if kind is Kind.COUNTRY)
    frame = frame[(frame[key] != "") & (frame[key].str.len() <= MAX_KEY_LENGTH)]
    frame["row_country"] = frame[named].apply(lambda value: reference.country_code(table, value) or country)
    counts = {}
    for column, kind in mapping.items():
        rule = MEANINGS[kind].rule
        if rule is None or kind is Kind.KEY:
            continue
        filled = int((frame[column] != "").sum())
        if rule in COUNTRY_RULES and zipped:
            pairs = zip(frame[column], frame["row_country"], strict=True)
            frame[column] = [reference.standardise_and_hash(table, rule, value or None, code) for value, code in pairs]
        elif rule in COUNTRY_RULES:
            frame[column] = frame.apply(
                lambda row, rule=rule, column=column: reference.standardise_and_hash(
                    table, rule, row[column] or None, row["row_country"]
                ),
                axis=1,
            )
        else:
            frame[column] = frame[column].apply(
                lambda value, rule=rule: reference.standardise_and_hash(table, rule, value or None, None)
            )
        counts[column] = (filled, int(frame[column].notna().sum()))
    collapsed(frame.drop(columns="row_country"), key).to_parquet(out)
    return read


def collapsed(frame, key):
    """One row a key: the first row's values, and each other value of its further rows in a numbered column."""
    further = frame[frame.duplicated(key)]
    first = frame.drop_duplicates(key).set_index(key)
    for column in first.columns:
        values = frame[frame[key].isin(further[key])].dropna(subset=column).drop_duplicates([key, column])
        values = values.assign(number=values.groupby(key).cumcount() + 1)
        wide = values.pivot(index=key, columns="number", values=column)
        for number in wide.columns:
            if number == 1:
                first.loc[wide.index, column] = wide[number]
            else:
                first[f"{column}_{number}"] = wide[number]
    return first.reset_index()
