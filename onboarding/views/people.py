"""People and their roles (admins)."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from onboarding.forms.people import FindPeople, GiveRole, GiveRoleTo
from onboarding.models import AmcAccount, Person, Role, RoleName, RoleRequest
from onboarding.services import people as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_some_role, require_superuser
from onboarding.views.tokens import lines

PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest) -> HttpResponse:
    """/people/: who has which role, and who asks for one. POST gives a role to somebody named by e-mail address."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    accounts = AmcAccount.objects.with_role(me, RoleName.ADMIN)
    give = GiveRoleTo(request.POST if request.method == "POST" else None, accounts=accounts)
    if request.method == "POST" and give.is_valid():
        _give(request, me, give.cleaned_data["person"], give)
        return redirect("people")
    search = FindPeople(request.GET)
    text = search.cleaned_data["q"] if search.is_valid() else ""
    found = service.visible_people(me)
    if text:
        found = found.filter(Q(name__icontains=text) | Q(email__icontains=text))
    roles = Role.objects.filter(account__in=accounts).select_related("account").order_by("account__name", "name")
    page = Paginator(
        found.order_by("name", "pk").prefetch_related(Prefetch("roles", roles, to_attr="shown_roles")), PAGE
    ).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "search": search,
        "give": give,
        "asked": service.open_role_requests(me).order_by("asked_at"),
        "accounts": accounts,
    }
    return render(request, "people/people.html", context, status=422 if give.errors else 200)


@require_safe
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """/people/<pk>/: one person's roles on the accounts that I administer."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    return _person_page(request, me, get_visible(service.visible_people(me), me, pk=pk), None)


@require_POST
def give_role(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /people/<pk>/give: give a role on an account."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    someone = get_visible(service.visible_people(me), me, pk=pk)
    form = GiveRole(request.POST, accounts=AmcAccount.objects.with_role(me, RoleName.ADMIN))
    if not form.is_valid():
        return _person_page(request, me, someone, form)
    _give(request, me, someone, form)
    return redirect("person", pk)


@require_POST
def take_role(request: HttpRequest, pk: int, role_pk: int) -> HttpResponse:
    """POST /people/<pk>/roles/<role_pk>/take: take a role away."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    mine = Role.objects.filter(account__in=AmcAccount.objects.with_role(me, RoleName.ADMIN))
    role = get_visible(mine.select_related("person", "account"), me, pk=role_pk, person__pk=pk)
    try:
        service.take_role(me, role.person, role.account, role.name, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{role.person} is no longer {role.get_name_display().lower()} of {role.account}.")
    still = service.visible_people(person_of(request)).filter(pk=pk).exists()
    return redirect("person", pk) if still else redirect("people" if _administers(me) else "access")


@require_POST
def set_active(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /people/<pk>/active with `active` yes or no: let somebody sign in, or no longer (superusers)."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    someone = get_visible(service.visible_people(me), me, pk=pk)
    require_superuser(me)
    active = request.POST.get("active") == "yes"
    try:
        service.set_active(me, someone, active, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{someone} may {'sign in' if active else 'no longer sign in'}.")
    return redirect("person", pk)


@require_POST
def decide(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /people/asked/<pk>: give the role that somebody asks for (`account`, `role`), or `decline`."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    asked = get_visible(service.open_role_requests(me), me, pk=pk)
    now = timezone.now()
    try:
        if request.POST.get("answer") == "decline":
            service.decline_role_request(me, asked, now=now)
            messages.success(request, f"The request of {asked.person} is declined.")
            return redirect("people")
        form = GiveRole(request.POST, accounts=AmcAccount.objects.with_role(me, RoleName.ADMIN))
        if not form.is_valid():
            messages.error(request, f"Choose the AMC account and the role that {asked.person} is to have.")
            return redirect("people")
        account, role = form.cleaned_data["account"], form.cleaned_data["role"]
        service.grant_role_request(me, asked, account=account, role=role, now=now)
        messages.success(request, f"{asked.person} is now {RoleName(role).label.lower()} of {account}.")
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("people")


def _administers(person: Person) -> bool:
    return person.is_superuser or AmcAccount.objects.with_role(person, RoleName.ADMIN).exists()


def _give(request: HttpRequest, me: Person, someone: Person, form: GiveRole) -> None:
    account, role = form.cleaned_data["account"], form.cleaned_data["role"]
    try:
        given = service.give_role(me, someone, account, role, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return
    words = f"{RoleName(role).label.lower()} of {account}"
    messages.success(request, f"{someone} is {'now' if given else 'already'} {words}.")


def _person_page(request: HttpRequest, me: Person, someone: Person, form: GiveRole | None) -> HttpResponse:
    accounts = AmcAccount.objects.with_role(me, RoleName.ADMIN)
    roles = someone.roles.filter(account__in=accounts).select_related("account", "given_by")
    context = {
        "someone": someone,
        "roles": roles.order_by("account__name", "name"),
        "give": form or GiveRole(accounts=accounts),
        "tokens": lines(me, someone, timezone.now()),
        "can_disable": me.is_superuser and me.pk != someone.pk,
        "asked": RoleRequest.objects.filter(person=someone, pk__in=service.open_role_requests(me).values("pk")),
    }
    return render(request, "people/person.html", context, status=422 if form is not None and form.errors else 200)
