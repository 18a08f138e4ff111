"""People, and which role each holds on which AMC account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

if TYPE_CHECKING:
    from onboarding.models.account import AmcAccount


class RoleName(models.TextChoices):
    """What a person may do on one AMC account."""

    ANALYST = "analyst", "Analyst"
    APPROVER = "approver", "Approver"
    ADMIN = "admin", "Admin"


class PersonManager(BaseUserManager["Person"]):
    """Makes people; none of them has a password, since everyone signs in with Amazon."""

    def create_user(self, amazon_id: str, *, name: str = "", email: str = "", **fields: Any) -> Person:
        person = self.model(amazon_id=amazon_id, name=name, email=self.normalize_email(email), **fields)
        person.set_unusable_password()
        person.save(using=self._db)
        return person


def person_name(name: str, email: str) -> str:
    """How a person is called everywhere."""
    return name or email or "Somebody"


class Person(AbstractBaseUser):
    """Somebody who signs in with Amazon. A superuser holds every role on every account."""

    amazon_id = models.CharField(max_length=128, unique=True)
    name = models.CharField(max_length=200, blank=True)
    email = models.EmailField(blank=True)
    is_active = models.BooleanField(default=True)
    is_superuser = models.BooleanField(default=False)
    joined_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[PersonManager] = PersonManager()
    USERNAME_FIELD = "amazon_id"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name_plural = "people"
        indexes = [models.Index(Lower("email"), name="person_email")]

    def __str__(self) -> str:
        return person_name(self.name, self.email)

    def get_full_name(self) -> str:
        return str(self)

    def has_role(self, account: AmcAccount | int, *names: str) -> bool:
        """Whether this person, as of now in the database, holds one of the roles on the account."""
        if not self.is_active:
            return False
        if self.is_superuser:
            return True
        account_id = account if isinstance(account, int) else account.pk
        return Role.objects.filter(person=self, account_id=account_id, name__in=names).exists()


class Role(models.Model):
    """One role of one person on one AMC account."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="roles")
    account = models.ForeignKey("onboarding.AmcAccount", on_delete=models.CASCADE, related_name="roles")
    name = models.CharField(max_length=16, choices=RoleName)
    given_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    given_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["person", "account", "name"], name="role_once"),
            models.CheckConstraint(condition=models.Q(name__in=RoleName.values), name="role_name_known"),
        ]

    def __str__(self) -> str:
        return f"{self.person} is {self.get_name_display().lower()} of {self.account}"


class RoleRequest(models.Model):
    """Somebody without a role asks for one; an admin gives it or declines."""

    class State(models.TextChoices):
        OPEN = "open", "Waiting for an admin"
        GIVEN = "given", "Given"
        DECLINED = "declined", "Declined"

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="role_requests")
    account = models.ForeignKey("onboarding.AmcAccount", on_delete=models.CASCADE, null=True, blank=True)
    team = models.CharField("advertiser or team", max_length=200, blank=True)
    role = models.CharField(max_length=16, choices=RoleName, default=RoleName.ANALYST)
    reason = models.TextField(max_length=1000, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    asked_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-asked_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["person"], condition=models.Q(state="open"), name="one_open_role_request_a_person"
            )
        ]

    def __str__(self) -> str:
        return f"{self.person} asks to be {self.get_role_display().lower()}"
