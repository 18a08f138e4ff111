"""Procedures: which steps, in which order, make up a run."""

from __future__ import annotations

from onboarding.guide.adopt import AdoptCollaboration, AdoptMemberships
from onboarding.guide.advertisers import ChangeAdvertisers, ReadAdvertisers, ReadNewAdvertisers
from onboarding.guide.aws_access import CheckAwsAccess
from onboarding.guide.catalogue import Catalogue
from onboarding.guide.check_access import CheckAmcAccess
from onboarding.guide.check_requirements import CheckRequirements
from onboarding.guide.collaboration import FollowCollaboration
from onboarding.guide.create_instance import CreateInstance
from onboarding.guide.data_bucket import ChooseDataBucket
from onboarding.guide.delete_instance import DeleteInstance, ReadInstance
from onboarding.guide.delete_mapping_table import CheckReplacement, DeleteMappingTable, DeleteReplacedTable
from onboarding.guide.id_namespace import MakeIdNamespace
from onboarding.guide.identity_files import IdentityFiles
from onboarding.guide.invitation import ReadInvitation
from onboarding.guide.join import JoinCollaboration
from onboarding.guide.join_partners import JoinPartners
from onboarding.guide.leave import LeaveCollaboration, ReadMembership
from onboarding.guide.mapping_table import CreateMappingTable, ReadNamespaces
from onboarding.guide.membership import EditMembership, ReadSettings
from onboarding.guide.put_right import PutAdvertisersRight, PutRight
from onboarding.guide.ready import ProveReady
from onboarding.guide.refresh import RefreshMappingTable
from onboarding.guide.schema_mapping import SchemaMapping
from onboarding.guide.source_role import MakeSourceRole
from onboarding.guide.step import GuideStep

PROCEDURES: dict[str, tuple[GuideStep, ...]] = {
    "onboard": (
        CheckRequirements(),
        CheckAmcAccess(),
        CreateInstance(),
        FollowCollaboration(),
        ReadNewAdvertisers(),
        ChangeAdvertisers(),
        CheckAwsAccess(),
        ReadInvitation(),
        JoinCollaboration(),
        JoinPartners(),
        ChooseDataBucket(),
        IdentityFiles(),
        MakeSourceRole(),
        Catalogue(),
        SchemaMapping(),
        MakeIdNamespace(),
        ReadNamespaces(),
        CreateMappingTable(),
        ProveReady(),
    ),
    # Identity data for an instance that has joined already: another data set, or a new version of one.
    "dataset": (
        CheckAwsAccess(),
        ChooseDataBucket(),
        IdentityFiles(),
        MakeSourceRole(),
        Catalogue(),
        SchemaMapping(),
        MakeIdNamespace(),
    ),
    "advertisers": (ReadAdvertisers(), ChangeAdvertisers()),
    "mapping-table": (ReadNamespaces(), CreateMappingTable()),
    "refresh": (RefreshMappingTable(),),
    "replace-dataset": (ReadNamespaces(), CreateMappingTable(), CheckReplacement(), DeleteReplacedTable()),
    "delete-mapping-table": (DeleteMappingTable(),),
    "membership": (ReadSettings(), EditMembership()),
    "adopt": (AdoptCollaboration(), AdoptMemberships()),
    "put-right": (PutRight(), PutAdvertisersRight()),
    "leave": (ReadMembership(), LeaveCollaboration()),
    "delete-instance": (ReadInstance(), DeleteInstance()),
}
PROCEDURE_TITLES = {
    "onboard": "Onboarding",
    "dataset": "Bringing identity data",
    "advertisers": "Change of advertisers",
    "mapping-table": "New mapping table",
    "refresh": "Refresh of a mapping table",
    "replace-dataset": "Replacement of a mapping table's data",
    "delete-mapping-table": "Deletion of a mapping table",
    "membership": "Change of the membership",
    "adopt": "Taking over",
    "put-right": "Putting right",
    "leave": "Leaving the collaboration",
    "delete-instance": "Deletion of the instance",
}


def steps_of(procedure: str) -> tuple[GuideStep, ...]:
    """The steps of a procedure, in order. Raises KeyError for an unknown one."""
    return PROCEDURES[procedure]


def needs_of(procedure: str, key: str) -> list[str]:
    """The steps that have to be done before a step can start, of those that the procedure has."""
    mine = {step.key for step in PROCEDURES[procedure]}
    return [need for need in step_of(procedure, key).needs if need in mine]


def step_of(procedure: str, key: str) -> GuideStep:
    """One step of a procedure. Raises KeyError if there is none of that key."""
    for step in PROCEDURES[procedure]:
        if step.key == key:
            return step
    raise KeyError(key)
