"""The template tags: words, links and attributes, and that what people type is escaped."""

from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.core.paginator import Paginator
from django.template import Context, Template
from django.test import RequestFactory

from onboarding.models import InstanceStatus, RequestState, StepState
from onboarding.templatetags import ui
from onboarding.views.components import PlanEntry, Row, Stage, Task, TaskGroup
from portal.forms import ConfirmByName, described


def draw(text, **context):
    return Template("{% load ui %}" + text).render(Context(context))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (11_100, "3 h 5 min"),
        (36_060, "10 h"),
        (86_400, "1 day"),
        (timedelta(days=14), "14 days"),
        (-90, "−1 min"),
        (None, ""),
    ],
)
def test_duration(value, words):
    assert ui.duration(value) == words


def test_ago_says_when_exactly(now):
    assert "8 min ago" in ui.ago(now - timedelta(minutes=8))
    assert "in 9 days" in ui.ago(now + timedelta(days=9))
    assert "just now" in ui.ago(now)
    assert ui.ago(None) == "never"
    exact = ui.ago(datetime(2026, 11, 3, 9, 12, 4, tzinfo=UTC))
    assert 'datetime="2026-11-03T09:12:04+00:00"' in exact
    assert 'title="3 November 2026, 09:12:04 UTC"' in exact


def test_every_status_has_a_look_and_only_problems_are_red():
    for value, label in [*InstanceStatus.choices, *StepState.choices, *RequestState.choices]:
        drawn = ui.status(value)
        assert label in drawn
        assert value in ui.LOOKS
        assert ("status-bad" in drawn) == (value in ("problem", "failed"))


def test_status_takes_other_words_and_escapes_them():
    assert "Waiting for &lt;b&gt;" in ui.status("approval", "Waiting for <b>")


def test_tags_with_content_escape_their_arguments_and_keep_the_content():
    drawn = draw("{% page_header title %}<a href='#x'>{{ title }}</a>{% endpage_header %}", title="<script>")
    assert "<h1>&lt;script&gt;</h1>" in drawn
    assert "<a href='#x'>&lt;script&gt;</a>" in drawn
    assert "<script>" not in drawn
    assert "page-head-actions" not in draw("{% page_header 'A' %}{% endpage_header %}")


def test_a_task_that_cannot_start_is_no_link_and_says_why():
    groups = [
        TaskGroup("Match", [Task("Map columns", "blocked", hint="Needs checked files"), Task("Go", "ready", "/go")])
    ]
    drawn = draw("{% task_list groups %}", groups=groups)
    assert "Needs checked files" in drawn
    assert drawn.count("<a ") == 1
    assert 'href="/go"' in drawn


def test_a_plan_says_what_becomes_of_each_thing():
    entries = [
        PlanEntry("make", "IAM role", "r"),
        PlanEntry("exists", "Bucket", "b"),
        PlanEntry("change", "Policy", "p"),
    ]
    drawn = draw("{% plan entries %}{% plan none %}", entries=entries, none=[])
    for words in ("Will be made", "Exists, used", "Will change", "Nothing will be made"):
        assert words in drawn


def test_summary_links_say_what_they_change():
    drawn = draw("{% summary_list rows %}", rows=[Row("Name", "<Acme>", change_url="/n"), Row("Region", "us-east-1")])
    assert "&lt;Acme&gt;" in drawn
    assert 'Change<span class="visually-hidden"> Name</span>' in drawn
    assert drawn.count("Change<") == 1


def test_timeline_marks_the_stage_at_work(now):
    drawn = draw("{% timeline s %}", s=[Stage("A", "done", at=now, took=timedelta(seconds=41)), Stage("B", "running")])
    assert "took 41 s" in drawn
    assert drawn.count('aria-current="step"') == 1


def test_documents_are_indented():
    drawn = draw("{% document 'Trust' body %}", body='{"Version":"2012-10-17"}')
    assert "{\n  &quot;Version&quot;: &quot;2012-10-17&quot;\n}" in drawn
    assert "not json" in draw("{% document 'Trust' body %}", body="not json")


def test_polling_ends_at_a_final_state():
    drawn = ui.poll("/run?a=1&b=2", 5)
    assert 'hx-get="/run?a=1&amp;b=2"' in drawn
    assert 'hx-trigger="load delay:5s, poll-again"' in drawn
    assert ui.poll("/run", None) == ""


def test_sort_headers_turn_round_and_go_back_to_the_first_page():
    request = RequestFactory().get("/?q=a&page=3&sort=name")
    drawn = draw("{% sort_header 'Name' 'name' %}{% sort_header 'Since' 'since' %}", request=request)
    assert 'aria-sort="ascending"><a class="sort" href="?q=a&amp;sort=-name"' in drawn
    assert 'href="?q=a&amp;sort=since"' in drawn
    assert "page=" not in drawn


def test_pages_keep_the_filter():
    page = Paginator(range(4000), 50).get_page(2)
    drawn = draw("{% pagination page 'instances' %}", page=page, request=RequestFactory().get("/?q=a&page=2"))
    assert "51 to 100 of 4,000 instances" in drawn
    assert 'href="?q=a&amp;page=3"' in drawn
    assert 'aria-current="page"' in drawn
    one = draw("{% pagination page %}", page=Paginator(range(3), 50).get_page(1), request=RequestFactory().get("/"))
    assert "3 rows" in one
    assert "<nav" not in one


def test_filters_can_be_cleared_only_when_set():
    class Filter(forms.Form):
        q = forms.CharField(label="Name", required=False)

    empty, full = RequestFactory().get("/i?sort=-name"), RequestFactory().get("/i?q=acme")
    drawn = draw("{% filter_bar form %}", form=Filter(empty.GET), request=empty)
    assert "Clear" not in drawn
    assert 'name="sort" value="-name"' in drawn
    assert "Clear" in draw("{% filter_bar form %}", form=Filter(full.GET), request=full)


class Everything(forms.Form):
    name = forms.CharField(label="Name", help_text="Letters.")
    note = forms.CharField(label="Note", required=False, widget=forms.Textarea)
    kind = forms.ChoiceField(
        label="Kind", widget=forms.RadioSelect, choices=[("a", described("Single", "One <account>")), ("b", "Multi")]
    )

    def clean(self):
        raise forms.ValidationError("Together these do not fit")


def test_fields_say_what_is_wrong_to_everybody():
    drawn = str(Everything({}))
    assert 'aria-invalid="true"' in drawn
    assert 'aria-describedby="id_name_helptext id_name_error"' in drawn
    assert 'id="id_name_error"' in drawn
    assert '<label class="field-label" for="id_note">Note <span class="quiet">(optional)</span></label>' in drawn
    assert '<legend class="field-label">Kind</legend>' in drawn
    assert "One &lt;account&gt;" in drawn
    assert drawn.count("is-invalid") == 1
    assert "style=" not in drawn


def test_the_error_summary_links_to_each_field():
    drawn = draw("{% error_summary form %}", form=Everything({}))
    assert '<a href="#id_name">Name – This field is required.</a>' in drawn
    assert '<a href="#id_kind_0">' in drawn
    assert "<li>Together these do not fit</li>" in drawn
    assert draw("{% error_summary form %}", form=Everything()).strip() == ""


def test_a_question_is_the_heading_of_its_page():
    form = Everything()
    assert '<h1><label for="id_name">Name</label></h1>' in form["name"].as_question()
    assert "<legend><h1>Kind</h1></legend>" in form["kind"].as_question()


def test_formsets_number_their_parts():
    class Partner(forms.Form):
        part_title = "Partner"
        account = forms.CharField()

    drawn = str(forms.formset_factory(Partner, extra=2)())
    assert "Partner 1" in drawn
    assert "Partner 2" in drawn
    assert 'name="form-TOTAL_FORMS"' in drawn


def test_confirming_takes_the_exact_name():
    assert ConfirmByName({"typed": " Acme US "}, name="Acme US").is_valid()
    assert not ConfirmByName({"typed": "acme us"}, name="Acme US").is_valid()
    assert 'data-must-equal="A&quot;B"' in str(ConfirmByName(name='A"B'))


def test_small_words():
    assert ui.initials("Maria de la Cruz") == "MC"
    assert ui.initials("maria@acme.example") == "MA"
    assert ui.initials("") == "?"
    assert ui.account_number("123456789000") == "1234-5678-9000"
    assert ui.account_number("12") == "12"
    assert draw("{% join_words a %}", a=["x", "<y>", "z"]) == "x, &lt;y&gt; and z"
