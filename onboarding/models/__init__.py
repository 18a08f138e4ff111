"""The nouns: people and their roles, AMC accounts, instances, runs of guide steps, requests, the audit log."""

from onboarding.models.account import AccountPolicy, AmcAccount, AmcConnection
from onboarding.models.audit import AuditCheck, AuditCursor, AuditEntry, AuditHead
from onboarding.models.aws import AwsConnection, Membership, PartnerInvitation
from onboarding.models.dataset import Dataset, DatasetVersion, IdentityJob, SourceFile
from onboarding.models.drift import Comparison, Difference, Expectation
from onboarding.models.instance import CollaborationMember, Instance, InstanceStatus
from onboarding.models.lifecycle import InstanceAdvertiser, UserInvitation
from onboarding.models.locks import locked
from onboarding.models.mapping import IdNamespace, MappingJob, MappingTable, NamespaceTable
from onboarding.models.notice import Channel, Delivery, Notice, Pace, Topic
from onboarding.models.pause import Pause
from onboarding.models.person import Person, Role, RoleName, RoleRequest, person_name
from onboarding.models.request import Decision, Request, RequestComment, RequestState, waits_for
from onboarding.models.results import QueryResult, ResultsReading
from onboarding.models.run import CallRecord, LogLine, Run, Step, StepFailure, StepState
from onboarding.models.token import ApiToken, KeptAnswer
from onboarding.models.view import SavedView

__all__ = [
    "AccountPolicy",
    "AmcAccount",
    "AmcConnection",
    "ApiToken",
    "AuditCheck",
    "AuditCursor",
    "AuditEntry",
    "AuditHead",
    "AwsConnection",
    "CallRecord",
    "Channel",
    "CollaborationMember",
    "Comparison",
    "Dataset",
    "DatasetVersion",
    "Decision",
    "Delivery",
    "Difference",
    "Expectation",
    "IdNamespace",
    "IdentityJob",
    "Instance",
    "InstanceAdvertiser",
    "InstanceStatus",
    "KeptAnswer",
    "LogLine",
    "MappingJob",
    "MappingTable",
    "Membership",
    "NamespaceTable",
    "Notice",
    "Pace",
    "PartnerInvitation",
    "Pause",
    "Person",
    "QueryResult",
    "Request",
    "RequestComment",
    "RequestState",
    "ResultsReading",
    "Role",
    "RoleName",
    "RoleRequest",
    "Run",
    "SavedView",
    "SourceFile",
    "Step",
    "StepFailure",
    "StepState",
    "Topic",
    "UserInvitation",
    "locked",
    "person_name",
    "waits_for",
]
