"""The fields of each stream that the vendor's own SDK knows."""

import typing
from collections.abc import Iterator

from _incydr_sdk.actors.models import Actor
from _incydr_sdk.agents.models import Agent
from _incydr_sdk.alert_rules.models.response import RuleDetails, RuleUser
from _incydr_sdk.cases.models import CaseDetail
from _incydr_sdk.customer.models import Customer
from _incydr_sdk.devices.models import Device
from _incydr_sdk.directory_groups.models import DirectoryGroup
from _incydr_sdk.file_events.models.event import FileEventV2
from _incydr_sdk.file_events.models.response import SavedSearch
from _incydr_sdk.legal_hold.models import Custodian, LegalHoldPolicy, Matter
from _incydr_sdk.orgs.models import Org
from _incydr_sdk.risk_indicator_categories.models import RiskIndicatorCategory
from _incydr_sdk.sessions.models.response import Session
from _incydr_sdk.trusted_activities.models import TrustedActivity
from _incydr_sdk.users.models import Role, User, UserRole
from _incydr_sdk.watchlists.models.responses import (
    IncludedDepartment,
    IncludedDirectoryGroup,
    WatchlistActor,
    WatchlistV2,
)
from pydantic import BaseModel

MODELS: dict[str, list[type[BaseModel]]] = {
    "file_events": [FileEventV2],
    "session_events": [FileEventV2],
    "case_file_events": [FileEventV2],
    "sessions": [Session],
    "cases": [CaseDetail],
    "users": [User],
    "agents": [Agent],
    "devices": [Device],
    "actors": [Actor],
    "actor_profiles": [Actor],
    "watchlists": [WatchlistV2, WatchlistActor, IncludedDepartment, IncludedDirectoryGroup],
    "directory_groups": [DirectoryGroup],
    "alert_rules": [RuleDetails, RuleUser],
    "trusted_activities": [TrustedActivity],
    "roles": [Role],
    "user_roles": [UserRole],
    "orgs": [Org],
    "risk_indicator_categories": [RiskIndicatorCategory],
    "saved_searches": [SavedSearch],
    "legal_hold": [Matter, Custodian, LegalHoldPolicy],
    "customer": [Customer],
}


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yields each field's path as the API writes it. Members of a list's items are listed as the list's own."""
    for name, field in model.model_fields.items():
        path = before + (field.alias or name)
        yield path
        for inner in models_in(field.annotation):
            if inner is not model:
                yield from paths(inner, f"{path}.")


def of(stream: str) -> set[str]:
    return {path for model in MODELS.get(stream, []) for path in paths(model)}
