"""Who the caller is, what it may do, and what is kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Optional, Union

from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import TypedDict, Unpack

from lakekeep.errors import BadRequest
from lakekeep.models import (
    SCOPES,
    AuditEvent,
    AuditReport,
    Decision,
    Delegation,
    IdentityTest,
    Profile,
    Variable,
    WhoAmI,
    delegation_of,
    identity_of,
    profile_of,
    variable_of,
)
from lakekeep.v1 import accounts_pb2 as pb

from . import methods
from .calls import Api, Time, call, duration
from .effects import Cancel, Emit, Open, Operation, Stream, receive
from .policy import Document, document_text


class SecretsBase(Api):
    """Variables, or secrets."""

    _SECRET = False


def whoami(accounts: Api, project: str = "") -> Operation[WhoAmI]:
    """Who the caller is, and what it is mapped to.

    Args:
        project: What identity rules are told.
    """
    found = yield from call(accounts, methods.WHO_AM_I, pb.WhoAmIRequest(project=project))
    return WhoAmI(
        user=found.user,
        groups=tuple(found.groups),
        authenticated_by=found.authenticated_by,
        actor=found.actor,
        administrator=found.administrator,
        identity=identity_of(found),
        identity_error=found.identity_error,
    )


def try_identity(
    accounts: Api, user: str, *, groups: Sequence[str] = (), project: str = ""
) -> Operation[IdentityTest]:
    """What a user would be mapped to, with every rule tried. Of others: administrators.

    Raises:
        Denied: The caller is no administrator.
    """
    request = pb.TestIdentityRequest(user=user, groups=groups, project=project)
    found = yield from call(accounts, methods.TEST_IDENTITY, request)
    return IdentityTest(identity_of(found), tuple(found.tried))


def delegate(
    accounts: Api, actor: str, *, profile: str = "", lifetime: Optional[Time] = None
) -> Operation[Delegation]:
    """A token with which `actor` can act for the caller.

    Args:
        actor: The user name of the engine that may act.
        profile: Only in this profile; in all when empty.
        lifetime: How long it is good: seconds or a `timedelta`; the manager's own
            default when None.
    """
    request = pb.DelegateRequest(
        actor=actor, profile=profile, lifetime=duration(lifetime, "lifetime")
    )
    found = yield from call(accounts, methods.DELEGATE, request)
    return delegation_of(found)


def revoke(accounts: Api, delegation: Union[Delegation, str, None] = None) -> Operation[None]:
    """Makes a delegation (or its id) worthless; all of the caller's when None."""
    name = delegation.id if isinstance(delegation, Delegation) else delegation
    if name == "":
        # On the wire that would be all of them.
        raise BadRequest("delegation: empty", remedy="give an id, or None for all")
    yield from call(accounts, methods.REVOKE, pb.RevokeDelegationRequest(id=name or ""))


def can(
    accounts: Api, action: str, profile: str, *, user: str = "", groups: Sequence[str] = ()
) -> Operation[Decision]:
    """Whether a user may do something with a profile, and which rule says so.

    Args:
        action: Such as `create_sandbox`; an unknown one is refused with the list.
        profile: The profile's name.
        user: The caller when empty.
        groups: The user's groups.
    """
    request = pb.CanRequest(user=user, groups=groups, action=action, profile=profile)
    found = yield from call(accounts, methods.CAN, request)
    return Decision(found.allowed, tuple(found.reasons), found.remedy)


# Profiles.


def list_profiles(profiles: Api) -> Operation[list[Profile]]:
    """All profiles that the caller may see."""
    found = yield from call(profiles, methods.LIST_PROFILES, pb.ListProfilesRequest())
    return [profile_of(profile) for profile in found.profiles]


def get_profile(profiles: Api, name: str) -> Operation[Profile]:
    """The profile of this name.

    Raises:
        NotFound: There is none for the caller.
    """
    found = yield from call(profiles, methods.GET_PROFILE, pb.ProfileRef(name=name))
    return profile_of(found)


def put_profile(
    profiles: Api, name: str, document: Document, *, version: str = ""
) -> Operation[Profile]:
    """Makes or replaces a profile.

    Args:
        name: Its name.
        document: TOML text, a `Path` to a file, or a mapping.
        version: The version that it replaces; empty: there must be none.

    Raises:
        BadRequest: The document is refused, with line and field.
        Conflict: The present version is another one.
        Denied: The caller does not own it, or it comes from an administrator's file.
    """
    request = pb.PutProfileRequest(name=name, document=document_text(document), version=version)
    found = yield from call(profiles, methods.PUT_PROFILE, request)
    return profile_of(found)


def delete_profile(profiles: Api, name: str, *, version: str) -> Operation[None]:
    """Removes a profile of this version.

    Raises:
        Conflict: The present version is another one.
    """
    request = pb.DeleteProfileRequest(name=name, version=version)
    yield from call(profiles, methods.DELETE_PROFILE, request)


# Variables and secrets.


def set_variable(
    variables: SecretsBase,
    name: str,
    value: Union[str, bytes],
    *,
    scope: str = "user",
    owner: str = "",
) -> Operation[None]:
    """Sets it.

    Args:
        name: Its name.
        value: Text is sent as UTF-8.
        scope: `user`, `project` or `profile`.
        owner: The project or profile; empty for the user's own.
    """
    data = value.encode() if isinstance(value, str) else value
    ref = _ref(variables, name, scope, owner)
    request = pb.SetVariableRequest(variable=ref, value=data)
    yield from call(variables, methods.SET_VARIABLE, request)


def delete_variable(
    variables: SecretsBase, name: str, *, scope: str = "user", owner: str = ""
) -> Operation[None]:
    """Removes it.

    Raises:
        NotFound: There is none of this name in this scope.
    """
    ref = _ref(variables, name, scope, owner)
    yield from call(variables, methods.DELETE_VARIABLE, ref)


def list_variables(
    variables: SecretsBase, *, profile: str = "", project: str = ""
) -> Operation[list[Variable]]:
    """The user's own, and those of a profile and a project; of secrets only the names."""
    request = pb.ListVariablesRequest(profile=profile, project=project)
    found = yield from call(variables, methods.LIST_VARIABLES, request)
    every = [variable_of(variable) for variable in found.variables]
    return [variable for variable in every if variable.secret == variables._SECRET]


def _ref(variables: SecretsBase, name: str, scope: str, owner: str) -> pb.VariableRef:
    if scope not in SCOPES:
        raise BadRequest(f"scope: {scope!r} is none of {', '.join(SCOPES)}")
    return pb.VariableRef(scope=SCOPES[scope], owner=owner, name=name, secret=variables._SECRET)


# The audit log.


class AuditFilter(TypedDict, total=False):
    """Which events of the audit log; each that is given narrows.

    Attributes:
        since: Not before; an aware `datetime`.
        until: Not after; an aware `datetime`.
        who: The user as authenticated.
        action: Such as `create_sandbox`.
        profile: The profile's name.
        sandbox: The sandbox's identifier.
        outcome: `allowed`, `denied` or `error`.
        limit: At most so many.
    """

    since: Optional[datetime]
    until: Optional[datetime]
    who: str
    action: str
    profile: str
    sandbox: str
    outcome: str
    limit: int


def query_audit(audit: Api, **only: Unpack[AuditFilter]) -> Stream[AuditEvent]:
    """Yields events of the audit log.

    Args:
        only: See `AuditFilter`.

    Raises:
        Denied: The caller may not read these events.
    """
    unknown = sorted(set(only) - set(AuditFilter.__annotations__))
    if unknown:
        raise TypeError(f"query: unknown option {unknown[0]!r}")
    request = pb.QueryAuditRequest(
        since=_moment(only.get("since"), "since"),
        until=_moment(only.get("until"), "until"),
        who=only.get("who", ""),
        action=only.get("action", ""),
        profile=only.get("profile", ""),
        sandbox=only.get("sandbox", ""),
        outcome=only.get("outcome", ""),
        limit=only.get("limit", 0),
    )
    wire = yield Open(methods.QUERY_AUDIT, request)
    try:
        while True:
            event = yield from receive(methods.QUERY_AUDIT, wire)
            if event is None:
                return
            yield Emit(AuditEvent.parse(event.json))
    finally:
        yield Cancel(wire)


def verify_audit(audit: Api) -> Operation[AuditReport]:
    """Whether the audit log is whole.

    Raises:
        Denied: The caller is no administrator.
    """
    found = yield from call(audit, methods.VERIFY_AUDIT, pb.VerifyAuditRequest())
    return AuditReport(found.whole, found.events, found.problem)


def _moment(time: Optional[datetime], name: str) -> Optional[Timestamp]:
    if time is None:
        return None
    if time.tzinfo is None:
        raise BadRequest(f"{name}: {time!r} has no time zone", remedy="use an aware datetime")
    moment = Timestamp()
    moment.FromDatetime(time.astimezone(timezone.utc).replace(tzinfo=None))
    return moment
