"""What can't be undone: said in words, confirmed by typing the name, and signed by a second person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from onboarding.guide.step import Question, Situation
from portal.forms import ConfirmByName


class TypeTheName(ConfirmByName, Question):
    """The consequences, read and understood, and the instance's name typed."""

    slug = "confirm"
    heading = "Do you want to go on?"
    hint = "Somebody else has to approve it as well. Nothing is deleted before."
    why = "What is lost can't be brought back by anybody, Amazon included."
    understood = forms.BooleanField(
        label="I have read what is lost, and that it can't be undone",
        error_messages={"required": "Read what is lost, then tick this."},
    )
    field_order = ["understood", "typed"]

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, name=self.name_of(situation), situation=situation, **kwargs)

    @classmethod
    def name_of(cls, situation: Situation) -> str:
        """The name that has to be typed."""
        return situation.instance.name

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("Confirmed by typing", str(answer.get("typed", "")))]
