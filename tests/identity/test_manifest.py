"""A manifest that somebody brings: ours is read as it was written, anything else is refused and said."""

import copy
import json
from pathlib import Path

import pytest

from onboarding.identity import manifest, rules
from onboarding.identity.errors import BadManifest
from onboarding.identity.mapping import kind_named
from onboarding.identity.prepare import prepare


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The manifest of a file of which a key repeats so often that it becomes two tables."""
    folder = tmp_path_factory.mktemp("manifest")
    lines = ["id,email,phone,tcf"]
    lines += [f"k{n // 14},p{n}@example.com,+1206555{n:04},CPx" for n in range(28)] + [",nobody@example.com,,"]
    (folder / "people.csv").write_text("\n".join(lines))
    mapping = {"id": "key", "email": "email", "phone": "phone", "tcf": "consent"}
    columns = {name: kind_named(kind) for name, kind in mapping.items()}
    prepare([str(folder / "people.csv")], columns, str(folder / "out"), country="US", table="people")
    return (Path(folder) / "out" / "manifest.json").read_bytes()


def test_what_the_command_writes_is_read(written):
    found, whole = manifest.read(written), json.loads(written)
    assert [table["name"] for table in found["tables"]] == ["people", "people_2"]
    assert (found["rows_read"], found["rows_written"], found["rows_without_key"]) == (29, 2, 1)
    assert found["columns"] == {"id": "key", "email": "email", "phone": "phone", "tcf": "consent"}
    assert found["rule_deviations"] == [one.name for one in rules.load(rules.AMAZON_ADS).deviations]
    # Nothing is in it that was not looked at, and reading it again changes nothing.
    assert "sources" in whole and set(found) < set(whole)
    assert manifest.validated(found) == found


def put(path, value):
    def change(content):
        *above, last = path
        for name in above:
            content = content[name]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(["manifest"], 2), "format 2"),
        (put(["rules"], "house-rules"), "rule table house-rules"),
        (put(["rule_deviations"], []), "another version of amazon-ads-1"),
        (put(["country"], "Narnia"), "no two-letter code"),
        (put(["tables"], []), "1 to 20 tables"),
        (put(["tables"], "all"), "no list of tables"),
        (put(["tables", 1, "name"], "people"), "do not lie in its folder"),
        (put(["tables", 0, "name"], "../people"), "name AWS Glue does not take"),
        (put(["tables", 0, "rows"], 3), "do not hold its 3 rows"),
        (put(["tables", 0, "files", 0, "path"], "people/../../x.parquet"), "do not lie in its folder"),
        (put(["tables", 0, "files", 0, "sha256"], ""), "without a path or a digest"),
        (put(["tables", 0, "files"], []), "do not hold"),
        (put(["tables", 0, "columns", 0, "kind"], "email"), "must name the key"),
        (put(["tables", 0, "columns", 1, "kind"], "shoe size"), "what column email holds"),
        (put(["tables", 0, "columns", 1, "name"], "E-Mail"), "name AWS Glue does not take"),
        (put(["tables", 0, "columns", 1, "name"], "id"), "each once"),
        (put(["rows_written"], 30), "do not fit together"),
        (put(["rows_ragged"], -1), "no count rows_ragged"),
        (put(["rules"], None), "another version of the program"),
        (put(["columns"], {"id": "shoe size"}), "which column was what"),
        (put(["fields", "email"], 7), "no counts of its columns"),
    ],
)
def test_what_does_not_fit_is_refused(written, change, said):
    content = copy.deepcopy(json.loads(written))
    change(content)
    with pytest.raises(BadManifest, match=said):
        manifest.validated(content)


@pytest.mark.parametrize(
    "text",
    ["", "customer_id,email", "[1]", "{}", '"manifest"', "[" * 100_000, "{" + " " * manifest.LARGEST],
    ids=["nothing", "csv", "list", "object", "text", "deep", "large"],
)
def test_other_files_are_no_manifests(text):
    with pytest.raises(BadManifest):
        manifest.read(text)


def test_values_in_clear_are_not_said_to_be_hashed(written):
    content = json.loads(written) | {"rules": None, "rule_deviations": []}
    with pytest.raises(BadManifest, match="in clear"):
        manifest.validated(content)


def test_values_in_clear_that_came_hashed_are(written):
    content = json.loads(written) | {"rules": None, "rule_deviations": []}
    for column in content["tables"][0]["columns"] + content["tables"][1]["columns"]:
        column["hashed"] = column["kind"] == "email"
    counts = content["fields"]["email"]
    counts["hashed"] = counts["values"]
    assert manifest.validated(content)["tables"][0]["columns"][1]["hashed"] is True
    counts["hashed"] -= 1
    with pytest.raises(BadManifest, match="in clear"):
        manifest.validated(content)


def test_manifests_from_before_rows_without_a_country_were_counted_are_read(written):
    content = json.loads(written)
    assert content.pop("rows_without_country") == 0
    assert manifest.validated(content)["rows_without_country"] == 0
    with pytest.raises(BadManifest, match="no count rows_without_country"):
        manifest.validated(content | {"rows_without_country": -1})
    with pytest.raises(BadManifest, match="do not fit together"):
        manifest.validated(content | {"rows_without_country": 30})
