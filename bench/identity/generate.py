"""Makes an identity file of any number of rows, in a stream: ten columns, US, as messy as exports are.

python bench/identity/generate.py ROWS OUT.csv
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

CHUNK = 250_000
HEADER = "customer_id,first_name,last_name,email,phone,address,city,state,zip,country"
ENDINGS = ["a", "e", "el", "en", "ia", "ie", "in", "on", "us", "y"]
FIRST = [
    s + e
    for s in [
        "Ad",
        "Al",
        "An",
        "Ben",
        "Car",
        "Chris",
        "Dan",
        "Ed",
        "El",
        "Em",
        "Er",
        "Fran",
        "Gr",
        "Har",
        "Is",
        "Jam",
        "Jan",
        "Jul",
        "Kar",
        "Lin",
        "Mar",
        "Nat",
        "Pat",
        "Rob",
    ]
    for e in ENDINGS
]
LAST = [
    a + b
    for a in [
        "Ander",
        "Bald",
        "Brad",
        "Carl",
        "Chand",
        "Cole",
        "Dav",
        "Ed",
        "Fair",
        "Gold",
        "Har",
        "Hend",
        "Jack",
        "John",
        "Lang",
        "Mart",
        "Mor",
        "Nel",
        "Pat",
        "Rich",
        "Rob",
        "Sam",
    ]
    for b in [
        "berg",
        "burn",
        "by",
        "cock",
        "er",
        "field",
        "ford",
        "ham",
        "ins",
        "land",
        "ley",
        "man",
        "more",
        "ris",
        "sen",
        "son",
        "ston",
        "ton",
        "wood",
        "worth",
    ]
]
STREETS = [
    "Main",
    "Oak",
    "Maple",
    "Cedar",
    "Elm",
    "Washington",
    "Lake",
    "Hill",
    "Park",
    "Second",
    "Third",
    "Sunset",
    "Lincoln",
    "Jackson",
    "Church",
    "Spring",
    "Ridge",
]
SUFFIXES = [
    "Street",
    "St",
    "St.",
    "Avenue",
    "Ave",
    "Road",
    "Rd",
    "Drive",
    "Dr",
    "Lane",
    "Ln",
    "Blvd",
    "Boulevard",
    "Court",
    "Ct",
    "Place",
    "Way",
]
CITIES = [
    a + b
    for a in ["Spring", "Green", "Fair", "River", "Clin", "Frank", "Madi", "Arling", "Salem", "Oak"]
    for b in ["field", "ville", "view", "ton", "side", "land", "wood", "port", "dale", "ford"]
]
STATES = [
    "AL",
    "AK",
    "AZ",
    "AR",
    "CA",
    "CO",
    "CT",
    "DE",
    "FL",
    "GA",
    "Texas",
    "Ohio",
    "ny",
    "wa",
    "Utah",
    "Iowa",
    "Florida",
]
MAILS = ["gmail.com", "Yahoo.com", "outlook.com", "example.org", "icloud.com", "AOL.com"]


def chunk(start, rows, seed, repeated):
    """Some rows as a frame; the same for the same arguments."""
    random = np.random.default_rng([seed, start])

    def pick(values):
        return pl.Series(values).gather(random.integers(0, len(values), rows))

    ids = np.arange(start, start + rows)
    again = random.random(rows) < repeated
    ids[again] = start + random.integers(0, rows, int(again.sum()))
    area, exchange, line = (random.integers(low, high, rows) for low, high in ((201, 989), (200, 999), (0, 9999)))
    frame = pl.DataFrame(
        {
            "id": ids,
            "first": pick(FIRST),
            "last": pick(LAST),
            "tail": random.integers(0, 10_000, rows),
            "mail": pick(MAILS),
            "a": area.astype(str),
            "b": exchange.astype(str),
            "c": line,
            "form": random.integers(0, 4, rows),
            "house": random.integers(1, 9999, rows),
            "street": pick(STREETS),
            "suffix": pick(SUFFIXES),
            "flat": random.integers(1, 99, rows),
            "city": pick(CITIES),
            "state": pick(STATES),
            "zip": random.integers(501, 99950, rows),
            "odd": random.random(rows),
        }
    )
    line4 = pl.col("c").cast(pl.String).str.zfill(4)
    phones = [
        pl.format("({}) {}-{}", "a", "b", line4),
        pl.format("{}{}{}", "a", "b", line4),
        pl.format("+1{}{}{}", "a", "b", line4),
        pl.format("{}-{}-{}", "a", "b", line4),
    ]
    flats = [pl.lit(""), pl.lit(""), pl.format(" Apt {}", "flat"), pl.format(" #{}", "flat")]
    odd = pl.col("odd")
    return frame.select(
        pl.format("C{}", pl.col("id").cast(pl.String).str.zfill(10)),
        pl.when(odd < 0.01).then(pl.lit("José")).otherwise(pl.col("first")).alias("first_name"),
        pl.col("last").alias("last_name"),
        pl.when(odd > 0.97)
        .then(pl.lit(""))
        .otherwise(pl.format("{}.{}{}@{}", "first", "last", "tail", "mail"))
        .alias("email"),
        pl.when(odd.is_between(0.5, 0.55)).then(pl.lit("")).otherwise(_choose(pl.col("form"), phones)).alias("phone"),
        pl.format("{} {} {}{}", "house", "street", "suffix", _choose(pl.col("flat") % 4, flats)).alias("address"),
        pl.col("city"),
        pl.col("state"),
        pl.when(odd.is_between(0.2, 0.25))
        .then(pl.col("zip").cast(pl.String))
        .otherwise(pl.col("zip").cast(pl.String).str.zfill(5))
        .alias("zip"),
        pl.lit("US").alias("country"),
    )


def _choose(which, options):
    result = options[-1]
    for number, option in enumerate(options[:-1]):
        result = pl.when(which == number).then(option).otherwise(result)
    return result


def generate(rows, path, seed=1, repeated=0.02):
    """Writes the file, in bounded memory."""
    with Path(path).open("wb") as file:
        file.write(HEADER.encode() + b"\n")
        for start in range(0, rows, CHUNK):
            part = chunk(start, min(CHUNK, rows - start), seed, repeated)
            part.write_csv(file, include_header=False, quote_style="never")


if __name__ == "__main__":
    generate(int(sys.argv[1]), sys.argv[2], repeated=float(sys.argv[3]) if len(sys.argv) > 3 else 0.02)
