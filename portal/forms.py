"""How forms are drawn: labels, hints, errors and controls as templates/ui/form and templates/django/forms say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django.forms
from django import forms
from django.conf import settings
from django.forms.boundfield import BoundField
from django.forms.renderers import DjangoTemplates
from django.template.backends.django import DjangoTemplates as Engine
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

# Widget classes in the order they are tried: the first that fits gives the class of its control.
CONTROLS: tuple[tuple[tuple[type[forms.Widget], ...], str], ...] = (
    ((forms.RadioSelect, forms.CheckboxSelectMultiple), ""),
    ((forms.CheckboxInput,), "form-check-input"),
    ((forms.Select,), "form-select"),
    ((forms.Widget,), "form-control"),
)


class PortalBoundField(BoundField):
    """A field of a form with the classes of the CSS kit, drawn as a group or as the question of a page."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: forms.Widget | None = None) -> dict[str, Any]:
        widget = widget or self.field.widget
        built = super().build_widget_attrs(attrs, widget)
        control = next(name for kinds, name in CONTROLS if isinstance(widget, kinds))
        names = [str(built.get("class") or widget.attrs.get("class", "")), control]
        if self.errors and control:
            names.append("is-invalid")
        if isinstance(widget, forms.Textarea) and widget.attrs.get("rows") == "10":
            built["rows"] = "4"  # Django's default of 10 pushes the rest of a form off the screen
        joined = " ".join(name for name in names if name)
        if joined:
            built["class"] = joined
        return built

    @property
    def is_checkbox(self) -> bool:
        """Whether this is one box with its label after it."""
        return isinstance(self.field.widget, forms.CheckboxInput)

    @property
    def optional(self) -> bool:
        """Whether the label says "(optional)"; boxes and lists to tick never do."""
        return not self.field.required and not self.is_checkbox and not self.use_fieldset

    def as_question(self) -> SafeString:
        """The field as the only one of its page: its label (or legend) is the page's h1."""
        return self.render("ui/form/question_field.html")

    def as_filter(self) -> SafeString:
        """The field as part of a filter bar: small label, no hint."""
        return self.render("ui/form/filter_field.html")


class PortalFormRenderer(DjangoTemplates):
    """Draws forms with the portal's templates; a template of Django's is used where there is none of ours."""

    form_template_name = "ui/form/form.html"
    formset_template_name = "ui/form/formset.html"
    field_template_name = "ui/form/field.html"
    bound_field_class = PortalBoundField

    @cached_property
    def engine(self) -> Engine:
        """The portal's templates first, then Django's own for widgets."""
        return Engine(
            {
                "APP_DIRS": True,
                "DIRS": [settings.BASE_DIR / "templates", Path(django.forms.__file__).parent / "templates"],
                "NAME": "portalforms",
                "OPTIONS": {},
            }
        )


def described(label: str, hint: str) -> SafeString:
    """The label of a choice with a line below it, for radios and lists to tick."""
    return format_html('{}<span class="choice-hint">{}</span>', label, hint)


class ConfirmByName(forms.Form):
    """Something that cannot be undone: the person types the thing's name. `name` is what must be typed."""

    typed = forms.CharField(max_length=300, strip=True)

    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name
        field = self.fields["typed"]
        field.label = format_html("Type <strong>{}</strong> to confirm", name)
        field.widget.attrs.update({"autocomplete": "off", "spellcheck": "false", "data-must-equal": name})

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self.name:
            raise forms.ValidationError(f"This is not the name. Type it exactly: {self.name}")
        return typed
