"""Roles: asked for, given, taken; who may sign in."""

import pytest
from django.core import mail
from django.utils import timezone

from onboarding import audit
from onboarding.engine import deliveries
from onboarding.models import AmcAccount, AmcConnection, AuditEntry, Person, Role, RoleRequest
from onboarding.services import people as service
from onboarding.services.errors import NotAllowed, Refused
from tests.simulated import browser, somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> AmcAccount:
    connection = AmcConnection.objects.create(label="c", amazon_id="amzn1.account.C", refresh_token="r")
    return AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Acme", connection=connection)


@pytest.fixture
def other(account) -> AmcAccount:
    return AmcAccount.objects.create(
        entity_id="ENTITY2", marketplace_id="M", name="Umbrella", connection=account.connection
    )


@pytest.fixture
def admin(account) -> Person:
    return somebody("Ada", account, "admin")


@pytest.fixture
def mia() -> Person:
    return somebody("Mia")


def give(client, person, account, role="analyst"):
    return client.post(f"/people/{person.pk}/give", {"account": account.pk, "role": role}, follow=True)


def test_a_role_is_given_by_address_and_holds_at_once(account, admin, mia):
    client, hers = browser(admin), browser(mia)
    assert hers.get(f"/accounts/{account.pk}/policy/").status_code == 404
    answer = client.post("/people/", {"email": "MIA@example.com", "account": account.pk, "role": "admin"}, follow=True)
    assert "Mia is now admin of Acme." in answer.content.decode()
    assert hers.get(f"/accounts/{account.pk}/policy/").status_code == 200
    entry = AuditEntry.objects.get()
    assert (entry.act, entry.actor, entry.account, entry.details) == ("role.given", admin, account, {"role": "admin"})


def test_a_role_that_is_taken_is_gone_with_the_next_click(account, admin, mia):
    service.give_role(admin, mia, account, "admin", now=timezone.now())
    hers = browser(mia)
    assert hers.get("/people/").status_code == 200
    role = Role.objects.get(person=mia)
    answer = browser(admin).post(f"/people/{mia.pk}/roles/{role.pk}/take", follow=True)
    assert "Mia is no longer admin of Acme." in answer.content.decode()
    assert hers.get("/people/").status_code == 403
    assert not mia.has_role(account, "admin")
    assert [entry.act for entry in AuditEntry.objects.all()] == ["role.given", "role.taken"]
    assert audit.verify().whole


def test_giving_twice_and_taking_twice_is_one_act(account, admin, mia):
    client = browser(admin)
    assert give(client, mia, account).status_code == 404
    client.post("/people/", {"email": mia.email, "account": account.pk, "role": "analyst"})
    assert "already analyst" in give(client, mia, account).content.decode()
    role = Role.objects.get(person=mia)
    assert service.take_role(admin, mia, account, "analyst", now=timezone.now())
    assert not service.take_role(admin, mia, account, "analyst", now=timezone.now())
    assert client.post(f"/people/{mia.pk}/roles/{role.pk}/take").status_code == 404
    assert AuditEntry.objects.count() == 2


def test_an_admin_decides_only_about_their_accounts(account, other, admin, mia):
    somebody("Olga", other, "admin")
    role = Role.objects.create(person=mia, account=other, name="analyst")
    Role.objects.create(person=mia, account=account, name="analyst")
    client = browser(admin)
    assert give(client, mia, other).status_code == 422
    assert client.post(f"/people/{mia.pk}/roles/{role.pk}/take").status_code == 404
    for act in (service.give_role, service.take_role):
        with pytest.raises(NotAllowed):
            act(admin, mia, other, "analyst", now=timezone.now())
    page = client.get(f"/people/{mia.pk}/").content.decode()
    assert "Acme" in page and "Umbrella" not in page
    assert "Olga" not in client.get("/people/").content.decode()
    assert client.get(f"/people/{Person.objects.get(name='Olga').pk}/").status_code == 404


def test_the_last_admin_cannot_take_it_from_themselves(account, admin, mia):
    role = Role.objects.get(person=admin)
    client = browser(admin)
    answer = client.post(f"/people/{admin.pk}/roles/{role.pk}/take", follow=True)
    assert "would have no admin left" in answer.content.decode()
    assert admin.has_role(account, "admin")
    second = somebody("Second", account, "admin", is_active=False)
    with pytest.raises(Refused):
        service.take_role(admin, admin, account, "admin", now=timezone.now())
    Person.objects.filter(pk=second.pk).update(is_active=True)
    assert service.take_role(admin, admin, account, "admin", now=timezone.now())


def test_with_a_superuser_the_last_admin_may_go(account, admin):
    somebody("Root", is_superuser=True)
    role = Role.objects.get(person=admin)
    answer = browser(admin).post(f"/people/{admin.pk}/roles/{role.pk}/take")
    assert answer.status_code == 302
    assert not admin.roles.exists()


def test_somebody_without_a_role_asks_and_gets_one(account, other, admin, mia):
    hers = browser(mia)
    page = hers.get("/access/").content.decode()
    assert "You have no role yet" in page and "Acme" not in page and "Umbrella" not in page
    wish = {"team": "Acme marketing", "role": "approver", "reason": "I sign off"}
    assert "with the admins" in hers.post("/access/", wish, follow=True).content.decode()
    assert "Acme marketing" in hers.get("/access/").content.decode()
    again = hers.post("/access/", wish, follow=True).content.decode()
    assert "You have asked already" in again
    asked = RoleRequest.objects.get()
    client = browser(admin)
    assert "I sign off" in client.get("/people/").content.decode()
    choice = {"answer": "give", "account": account.pk, "role": "analyst"}
    answer = client.post(f"/people/asked/{asked.pk}", choice, follow=True)
    assert "Mia is now analyst of Acme." in answer.content.decode()
    asked.refresh_from_db()
    assert (asked.state, asked.decided_by) == ("given", admin)
    assert mia.has_role(account, "analyst") and not mia.has_role(account, "approver")
    assert client.post(f"/people/asked/{asked.pk}", choice).status_code == 404
    assert deliveries.send_due(now=timezone.now()) == 2
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["ada@example.com"], "Mia asks for access"),
        (["mia@example.com"], "You are now analyst of Acme"),
    ]


def test_a_request_is_declined_and_may_be_made_again(account, admin, mia):
    asked = service.ask_for_role(mia, role="analyst", team="Acme", reason="", now=timezone.now())
    browser(admin).post(f"/people/asked/{asked.pk}", {"answer": "decline"})
    assert RoleRequest.objects.get().state == "declined" and not mia.roles.exists()
    assert "was declined" in browser(mia).get("/access/").content.decode()
    service.ask_for_role(mia, role="analyst", team="Acme", reason="", now=timezone.now())
    assert RoleRequest.objects.count() == 2


def test_a_request_without_an_account_and_a_role_is_not_given(account, other, admin, mia):
    asked = service.ask_for_role(mia, role="analyst", team="Acme", reason="", now=timezone.now())
    client = browser(admin)
    for choice in ({"answer": "give"}, {"answer": "give", "account": other.pk, "role": "analyst"}):
        client.post(f"/people/asked/{asked.pk}", choice)
        assert RoleRequest.objects.get().state == "open" and not mia.roles.exists()


def test_a_request_for_a_known_account_is_seen_by_its_admins_only(account, other, admin, mia):
    Role.objects.create(person=mia, account=other, name="analyst")
    asked = service.ask_for_role(mia, role="admin", team="", reason="", account=other, now=timezone.now())
    assert browser(admin).post(f"/people/asked/{asked.pk}", {"answer": "decline"}).status_code == 404
    assert "Mia" not in browser(admin).get("/people/").content.decode()
    with pytest.raises(Refused):
        service.ask_for_role(mia, role="admin", team="", reason="", account=account, now=timezone.now())


def test_nobody_decides_their_own_request(account, admin):
    asked = service.ask_for_role(admin, role="approver", team="Acme", reason="", now=timezone.now())
    assert browser(admin).post(f"/people/asked/{asked.pk}", {"answer": "give"}).status_code == 404


def test_mail_that_is_away_does_not_undo_the_act(account, admin, mia, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 9, 1
    browser(mia).post("/access/", {"team": "Acme", "role": "analyst"})
    assert deliveries.send_due(now=timezone.now()) == 0
    assert RoleRequest.objects.get().state == "open"


def test_a_superuser_disables_and_enables(account, mia):
    root = somebody("Root", is_superuser=True)
    client, hers = browser(root), browser(mia)
    assert hers.get("/access/").status_code == 200
    client.post(f"/people/{mia.pk}/active", {"active": "no"})
    assert hers.get("/access/").status_code == 302
    assert "may not sign in" in give(client, mia, account).content.decode()
    client.post(f"/people/{mia.pk}/active", {"active": "yes"})
    assert browser(mia).get("/access/").status_code == 200
    assert [entry.act for entry in AuditEntry.objects.all()] == ["person.disabled", "person.enabled"]
    answer = client.post(f"/people/{root.pk}/active", {"active": "no"}, follow=True)
    assert "cannot disable yourself" in answer.content.decode()
    assert Person.objects.get(pk=root.pk).is_active


def test_an_admin_may_not_disable(account, admin, mia):
    Role.objects.create(person=mia, account=account, name="analyst")
    assert browser(admin).post(f"/people/{mia.pk}/active", {"active": "no"}).status_code == 403
    with pytest.raises(NotAllowed):
        service.set_active(admin, mia, False, now=timezone.now())
    assert Person.objects.get(pk=mia.pk).is_active


def test_the_list_is_searched_and_asks_the_database_a_fixed_number_of_times(
    account, admin, django_assert_max_num_queries
):
    for number in range(60):
        somebody(f"Person{number:02}", account, "analyst")
    client = browser(admin)
    with django_assert_max_num_queries(16):
        page = client.get("/people/").content.decode()
    assert "51" not in page or "Person49" not in page
    found = client.get("/people/?q=person07").content.decode()
    assert "Person07" in found and "Person08" not in found


def test_an_unknown_address_is_an_error_beside_the_field(account, admin):
    answer = browser(admin).post("/people/", {"email": "nobody@example.com", "account": account.pk, "role": "admin"})
    assert answer.status_code == 422
    assert "Nobody with this address has signed in yet" in answer.content.decode()


def test_names_are_shown_as_text(account, admin):
    somebody("Eve", account, "analyst")
    Person.objects.filter(name="Eve").update(name="<script>alert(1)</script>")
    assert "<script>alert(1)" not in browser(admin).get("/people/").content.decode()


def test_the_account_in_view(account, other, mia):
    Role.objects.create(person=mia, account=account, name="analyst")
    hers = browser(mia)
    answer = hers.post("/account-in-view", {"account": account.pk, "next": "/access/"})
    assert answer["Location"] == "/access/"
    assert hers.session["account_in_view"] == account.pk
    for foreign in (other.pk, "x", "999999"):
        assert hers.post("/account-in-view", {"account": foreign}).status_code == 404
    assert hers.post("/account-in-view", {"account": "", "next": "//evil.example/"})["Location"] == "/"
    assert "account_in_view" not in hers.session
