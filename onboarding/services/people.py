"""People: which role each holds on which AMC account, who asks for one, and who may no longer sign in."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from onboarding import audit
from onboarding.engine.notices import people_with, tell
from onboarding.models import AmcAccount, Person, Role, RoleName, RoleRequest, locked
from onboarding.services.access import authorize
from onboarding.services.errors import NotAllowed, Refused


def visible_people(person: Person) -> QuerySet[Person]:
    """The people whom this person may manage: everybody for a superuser; for an admin those with a role on one of the
    accounts, those who ask for one, and themselves."""
    if person.is_superuser:
        return Person.objects.all()
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    if not accounts.exists():
        return Person.objects.none()
    asking = open_role_requests(person).values("person")
    return Person.objects.filter(
        Q(pk__in=Role.objects.filter(account__in=accounts).values("person")) | Q(pk__in=asking) | Q(pk=person.pk)
    )


def open_role_requests(person: Person) -> QuerySet[RoleRequest]:
    """The open requests for a role that this person may decide."""
    requests = RoleRequest.objects.filter(state=RoleRequest.State.OPEN).select_related("person", "account")
    if person.is_superuser:
        return requests
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    if not accounts.exists():
        return requests.none()
    # Who asks without naming an account may be given a role on any.
    return requests.filter(Q(account=None) | Q(account__in=accounts)).exclude(person=person)


def give_role(actor: Person, person: Person, account: AmcAccount, name: str, *, now: datetime) -> bool:
    """Give a role on an account; False if the person holds it already.

    Raises NotAllowed if `actor` is no admin of the account, Refused if the person is disabled.
    """
    authorize(actor, account, RoleName.ADMIN)
    if not person.is_active:
        raise Refused(f"{person} may not sign in. Let them sign in again before you give them a role.")
    with transaction.atomic():
        _, created = Role.objects.get_or_create(
            person=person, account=account, name=RoleName(name), defaults={"given_by": actor}
        )
        if created:
            _record("role.given", actor, person, account, name, now)
    return created


def take_role(actor: Person, person: Person, account: AmcAccount, name: str, *, now: datetime) -> bool:
    """Take a role away; it is gone with the person's next request. False if the person does not hold it.

    Raises NotAllowed if `actor` is no admin of the account, Refused if nobody could administer it any more.
    """
    authorize(actor, account, RoleName.ADMIN)
    with transaction.atomic():
        locked(AmcAccount).get(pk=account.pk)
        if name == RoleName.ADMIN and not _other_admins(account, person):
            raise Refused(f"{account} would have no admin left. Make somebody else an admin first.")
        taken, _ = Role.objects.filter(person=person, account=account, name=name).delete()
        if taken:
            _record("role.taken", actor, person, account, name, now)
    return bool(taken)


def set_active(actor: Person, person: Person, active: bool, *, now: datetime) -> bool:
    """Let a person sign in, or no longer: open sessions end with their next request. False if nothing changes.

    Raises NotAllowed if `actor` is no superuser, Refused for oneself.
    """
    if not (actor.is_superuser and actor.is_active):
        raise NotAllowed("Only a superuser lets people sign in, or no longer.")
    if actor.pk == person.pk:
        raise Refused("You cannot disable yourself. Ask another superuser.")
    with transaction.atomic():
        # Two superusers who disable each other at the same moment: the second one no longer may.
        superusers = {row.pk for row in locked(Person).filter(is_superuser=True, is_active=True)}
        if actor.pk not in superusers:
            raise NotAllowed("Only a superuser lets people sign in, or no longer.")
        changed = Person.objects.filter(pk=person.pk, is_active=not active).update(is_active=active)
        if changed:
            audit.record(
                "person.enabled" if active else "person.disabled",
                actor=actor,
                subject=str(person),
                subject_ref=f"person:{person.pk}",
                now=now,
            )
    return bool(changed)


def ask_for_role(
    person: Person, *, role: str, team: str, reason: str, now: datetime, account: AmcAccount | None = None
) -> RoleRequest:
    """Ask the admins for a role. `team` says in words what for, `account` which AMC account if the person knows one.

    Raises Refused if the person has asked already and waits, or asks about an account that they may not see.
    """
    if account is not None and not AmcAccount.objects.visible_to(person).filter(pk=account.pk).exists():
        raise Refused("There is no such AMC account.")
    try:
        with transaction.atomic():
            request = RoleRequest.objects.create(
                person=person, account=account, team=team, role=RoleName(role), reason=reason, asked_at=now
            )
            audit.record(
                "role.asked",
                actor=person,
                account=account,
                subject=str(person),
                subject_ref=f"person:{person.pk}",
                details={"role": role, "team": team},
                now=now,
            )
            tell(
                _deciders(request),
                event=f"role-asked:{request.pk}",
                subject=f"{person} asks for access",
                text=f"{person} asks to be {request.get_role_display().lower()} of {account or team}.",
                path="/people/",
                now=now,
            )
    except IntegrityError:
        raise Refused("You have asked already. An admin will decide.") from None
    return request


def grant_role_request(
    actor: Person, request: RoleRequest, *, account: AmcAccount, role: str, now: datetime
) -> RoleRequest:
    """Give the person what they asked for, on the account and in the role that the admin chose.

    Raises Refused if somebody has decided meanwhile, NotAllowed if `actor` is no admin of the account.
    """
    authorize(actor, account, RoleName.ADMIN)
    with transaction.atomic():
        request = _decide(actor, request, RoleRequest.State.GIVEN, now)
        give_role(actor, request.person, account, role, now=now)
        words = RoleName(role).label.lower()
        tell(
            [request.person],
            event=f"role-given:{request.pk}",
            subject=f"You are now {words} of {account}",
            text=f"{actor} has made you {words} of {account}.",
            path="/",
            now=now,
        )
    return request


def decline_role_request(actor: Person, request: RoleRequest, *, now: datetime) -> RoleRequest:
    """Decline a request for a role; the person may ask again. Raises Refused if somebody has decided meanwhile."""
    with transaction.atomic():
        request = _decide(actor, request, RoleRequest.State.DECLINED, now)
        audit.record(
            "role.declined",
            actor=actor,
            account=request.account,
            subject=str(request.person),
            subject_ref=f"person:{request.person_id}",
            details={"role": request.role},
            now=now,
        )
        tell(
            [request.person],
            event=f"role-declined:{request.pk}",
            subject="Your request for access was declined",
            text=f"{actor} has declined your request to be {request.get_role_display().lower()}.",
            path="/access/",
            now=now,
        )
    return request


def _decide(actor: Person, request: RoleRequest, state: str, now: datetime) -> RoleRequest:
    if not open_role_requests(actor).filter(pk=request.pk).exists():
        raise Refused("Somebody else has decided this request meanwhile.")
    won = RoleRequest.objects.filter(pk=request.pk, state=RoleRequest.State.OPEN).update(
        state=state, decided_by=actor, decided_at=now
    )
    if not won:
        raise Refused("Somebody else has decided this request meanwhile.")
    request.refresh_from_db()
    return request


def _deciders(request: RoleRequest) -> list[Person]:
    if request.account is not None:
        people = people_with(request.account, RoleName.ADMIN)
    else:
        people = list(Person.objects.filter(is_active=True, roles__name=RoleName.ADMIN).distinct())
    superusers = Person.objects.filter(is_active=True, is_superuser=True)
    return [one for one in {one.pk: one for one in [*people, *superusers]}.values() if one.pk != request.person_id]


def _other_admins(account: AmcAccount, person: Person) -> bool:
    admins = Role.objects.filter(account=account, name=RoleName.ADMIN, person__is_active=True).exclude(person=person)
    return admins.exists() or Person.objects.filter(is_superuser=True, is_active=True).exists()


def _record(act: str, actor: Person, person: Person, account: AmcAccount, name: str, now: datetime) -> None:
    audit.record(
        act,
        actor=actor,
        account=account,
        subject=str(person),
        subject_ref=f"person:{person.pk}",
        details={"role": str(name)},
        now=now,
    )
