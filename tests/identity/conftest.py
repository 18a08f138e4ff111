"""Fixtures for identity files: small files, and the mapping that fits them."""

import csv

import pytest

from onboarding.identity.columns import Kind

HEADER = ["customer_id", "first_name", "last_name", "email", "phone", "address", "city", "state", "zip", "country"]
KINDS = [
    Kind.KEY,
    Kind.FIRST_NAME,
    Kind.LAST_NAME,
    Kind.EMAIL,
    Kind.PHONE,
    Kind.ADDRESS,
    Kind.CITY,
    Kind.STATE,
    Kind.ZIP,
    Kind.COUNTRY,
]
MAPPING = dict(zip(HEADER, KINDS, strict=True))


@pytest.fixture
def mapping():
    return dict(MAPPING)


@pytest.fixture
def person():
    """Makes a row of ten fields, all good unless said otherwise."""

    def make(key="c1", **changes):
        row = dict(
            zip(
                HEADER,
                [
                    key,
                    "Ann",
                    "Lee",
                    f"{key}@example.com",
                    "(206) 555-0100",
                    "1 Main Street",
                    "Seattle",
                    "WA",
                    "98101",
                    "US",
                ],
                strict=True,
            )
        )
        row.update(changes)
        return [row[name] for name in HEADER]

    return make


@pytest.fixture
def write_csv(tmp_path):
    """Writes rows under the usual header to a CSV file and gives its path."""

    def write(rows, name="people.csv", header=HEADER, encoding="utf-8", **dialect):
        path = tmp_path / name
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, **dialect)
            writer.writerow(header)
            writer.writerows(rows)
        return str(path)

    return write
