"""Migrations are safe on a running system: pages of the version before stay up while they run, and after.

What came before the first release may do as it likes: nobody has data of it. For the rest there are the rules of
docs/upgrading.md.
"""

from __future__ import annotations

import pytest
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader

from onboarding.migrating import AddCheckOnline, AddIndexOnline
from onboarding.models import Step

# The last migration before the first release.
FIRST_RELEASE = 17
# Models whose tables hold many rows for years: an index or a constraint is added to them without a lock.
LARGE = {
    *("auditentry", "logline", "callrecord", "step", "run", "notice", "delivery", "instance", "request"),
    "queryresult",
}


def unsafe(operation, made: set[str]) -> str:
    """Why an operation is not safe on a running system; empty if it is. `made`: the tables that its migration makes."""
    table = getattr(operation, "model_name_lower", getattr(operation, "name_lower", ""))
    if table in made and not isinstance(operation, migrations.DeleteModel):
        return ""
    if isinstance(operation, (migrations.RemoveField, migrations.DeleteModel)):
        return "the version before still reads it: stop using it in one release, remove it in the next"
    if isinstance(operation, (migrations.RenameField, migrations.RenameModel, migrations.AlterModelTable)):
        return "the version before knows the old name: add the new one, copy, remove the old one two releases later"
    if isinstance(operation, migrations.AddField):
        field = operation.field
        if not field.null and not field.has_db_default() and not isinstance(field, models.ManyToManyField):
            return "the version before inserts rows without it: let it be null, or give it a db_default"
        if field.unique or (field.db_index and table in LARGE and not field.is_relation):
            return "an index is built under a lock: AddIndexOnline in a migration of its own"
    if isinstance(operation, migrations.AlterField):
        return "may rewrite the table or refuse what is there: say why not in SAFE"
    if isinstance(operation, migrations.AddIndex) and not isinstance(operation, AddIndexOnline):
        return "an index is built under a lock: AddIndexOnline" if table in LARGE else ""
    if isinstance(operation, migrations.AddConstraint) and not isinstance(operation, AddCheckOnline) and table in LARGE:
        return "every row is looked at under a lock: AddCheckOnline"
    if isinstance(operation, migrations.RunSQL):
        return "nobody can tell: say why it is safe in SAFE"
    if isinstance(operation, migrations.RunPython) and operation.reverse_code is None:
        return "there is no way back: give it reverse_code, RunPython.noop if there is nothing to undo"
    return ""


# Operations that were looked at and are safe all the same: (migration, description) → why.
SAFE: dict[tuple[str, str], str] = {}


def test_what_comes_after_the_first_release_is_safe():
    loader = MigrationLoader(None)
    wrong, seen = {}, set()
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app != "onboarding":
            continue
        made = {one.name_lower for one in migration.operations if isinstance(one, migrations.CreateModel)}
        for operation in migration.operations:
            key = (name, operation.describe())
            reason = unsafe(operation, made)
            seen.add(key)
            if reason and int(name[:4]) > FIRST_RELEASE and key not in SAFE:
                wrong[key] = reason
    assert wrong == {}
    assert set(SAFE) <= seen and len(seen) > 30


TEXT = models.CharField(max_length=5)
UNSAFE = [
    migrations.RemoveField("step", "polls"),
    migrations.DeleteModel("Step"),
    migrations.RenameField("step", "polls", "looks"),
    migrations.RenameModel("Step", "Part"),
    migrations.AddField("step", "word", TEXT),
    migrations.AddField("step", "word", models.CharField(max_length=5, default="x")),
    migrations.AddField("pause", "word", models.CharField(max_length=5, null=True, unique=True)),
    migrations.AlterField("step", "key", models.CharField(max_length=5)),
    migrations.AddIndex("step", models.Index(fields=["key"], name="i")),
    migrations.AddConstraint("step", models.CheckConstraint(condition=models.Q(polls=0), name="c")),
    migrations.RunSQL("UPDATE x SET y = 1"),
    migrations.RunPython(lambda apps, editor: None),
]
FINE = [
    migrations.CreateModel("Part", [("id", models.BigAutoField(primary_key=True))]),
    migrations.AddField("step", "word", models.CharField(max_length=5, null=True)),
    migrations.AddField("step", "word", models.CharField(max_length=5, default="x", db_default="x")),
    migrations.AddIndex("pause", models.Index(fields=["name"], name="i")),
    AddIndexOnline("step", models.Index(fields=["key"], name="i")),
    AddCheckOnline("step", models.CheckConstraint(condition=models.Q(polls=0), name="c")),
    migrations.RunPython(lambda apps, editor: None, migrations.RunPython.noop),
]


@pytest.mark.parametrize("operation", UNSAFE, ids=lambda one: type(one).__name__)
def test_each_rule_refuses(operation):
    assert unsafe(operation, set())


@pytest.mark.parametrize("operation", FINE, ids=lambda one: type(one).__name__)
def test_each_rule_lets_pass(operation):
    assert not unsafe(operation, set())


def test_what_is_made_by_the_same_migration_may_be_changed_by_it():
    assert not unsafe(migrations.AddIndex("step", models.Index(fields=["key"], name="i")), {"step"})


@pytest.mark.django_db(transaction=True)
def test_the_operations_do_what_they_say_on_every_database():
    loader = MigrationLoader(connection)
    before = loader.project_state()
    check = models.CheckConstraint(condition=models.Q(polls__lt=1_000_000), name="tried_check")
    index = models.Index(fields=["polls", "key"], name="tried_index")
    for operation in (AddIndexOnline("step", index), AddCheckOnline("step", check)):
        after = before.clone()
        operation.state_forwards("onboarding", after)
        name = operation.describe().split()[2]
        for forwards in (True, False):
            with connection.schema_editor(atomic=connection.vendor == "sqlite") as editor:
                if forwards:
                    operation.database_forwards("onboarding", editor, before, after)
                else:
                    operation.database_backwards("onboarding", editor, after, before)
            with connection.cursor() as cursor:
                there = connection.introspection.get_constraints(cursor, Step._meta.db_table)
            assert (("tried_index" if "ndex" in type(operation).__name__ else "tried_check") in there) is forwards, name
    with pytest.raises(TypeError):
        AddCheckOnline("step", models.UniqueConstraint(fields=["key"], name="u"))
