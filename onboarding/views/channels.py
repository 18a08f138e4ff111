"""What reaches people, and how: the channels of one person, and those of an AMC account."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from onboarding.forms.channels import AddChannel, ChooseTopics
from onboarding.models import AmcAccount, Channel, Person, RoleName
from onboarding.services import channels as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role


@dataclass(frozen=True)
class Card:
    """One channel on the page, with its form."""

    row: Channel
    form: ChooseTopics
    where: str
    removable: bool


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def own(request: HttpRequest) -> HttpResponse:
    """/notices/settings/: one's own channels; POST adds one."""
    return _page(request, None)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def of_account(request: HttpRequest, pk: int) -> HttpResponse:
    """/accounts/N/channels/: where messages about the account go besides (its admins); POST adds one."""
    person = person_of(request)
    account = get_visible(AmcAccount, person, pk=pk)
    require_role(person, account, RoleName.ADMIN)
    return _page(request, account)


@require_POST
def topics(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /channels/N/topics: at once, once a day or not at all, for each topic."""
    person, channel = _mine(request, pk)
    form = ChooseTopics(request.POST, channel=channel)
    if form.is_valid():
        service.choose(person, channel, form.cleaned_data, now=timezone.now())
        messages.success(request, f"Kept for “{channel}”.")
    else:
        messages.error(request, "Choose for each topic how soon it goes out.")
    return _back(channel)


@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /channels/N/test: have a test message sent."""
    _, channel = _mine(request, pk)
    service.send_test(channel, now=timezone.now())
    messages.success(request, f"A test is on its way by “{channel}”. Open this page again to see whether it arrived.")
    return _back(channel)


@never_cache
@require_POST
def key(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /channels/N/key: a new signing secret; the answer is the only page that ever shows it."""
    person, channel = _mine(request, pk)
    try:
        made = service.renew_key(person, channel, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return _back(channel)
    return _page(request, channel.account, shown=(channel, made))


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /channels/N/remove: nothing goes out by it any more."""
    person, channel = _mine(request, pk)
    back = _back(channel)
    try:
        service.remove(person, channel, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"“{channel}” is removed.")
    return back


def _mine(request: HttpRequest, pk: int) -> tuple[Person, Channel]:
    person = person_of(request)
    rows = service.channels_of(person).select_related("account", "person")
    return person, get_visible(rows, person, pk=pk)


def _back(channel: Channel) -> HttpResponse:
    return (
        redirect("notice-settings") if channel.account_id is None else redirect("account-channels", channel.account_id)
    )


def _page(
    request: HttpRequest, account: AmcAccount | None, *, shown: tuple[Channel, str] | None = None
) -> HttpResponse:
    person, now = person_of(request), timezone.now()
    adding = request.method == "POST" and shown is None
    form = AddChannel(request.POST if adding else None, shared=account is not None)
    if adding and form.is_valid():
        try:
            channel, secret = service.add(person, account=account, **form.cleaned_data, now=now)
        except Refused as refusal:
            form.add_error("address", str(refusal))
        else:
            if not secret:
                messages.success(request, f"“{channel}” is added. Send a test to see whether it works.")
                return _back(channel)
            shown = (channel, secret)
    rows = service.own_channels(person, now) if account is None else list(Channel.objects.filter(account=account))
    cards = [_card(row, person.email) for row in rows]
    context = {
        "account": account,
        "cards": cards,
        "form": AddChannel(shared=account is not None) if shown else form,
        "shown": shown,
        "mail": person.email,
    }
    return render(request, "notices/channels.html", context, status=422 if form.errors and not shown else 200)


def _card(row: Channel, mail: str) -> Card:
    own_mail = row.person_id is not None and row.kind == Channel.Kind.EMAIL
    where = mail or "no address is known" if own_mail else row.host
    return Card(row, ChooseTopics(channel=row), where, not own_mail)
