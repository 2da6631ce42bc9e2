"""What a person may do by the groups that a provider says."""

from collections.abc import Collection, Mapping

from services.console.oidc.settings import Grant


def grant_of(groups: Collection[str], granted: Mapping[str, Grant]) -> Grant | None:
    """The rights of a person in these groups, or None if none of them has any.

    The first match, in the order of `granted`, decides the scopes. The access groups of other matches are added where
    these have at least the same scopes: so no match gives a scope in the access groups of another one.
    """
    matching = [grant for name, grant in granted.items() if name in groups]
    if not matching:
        return None
    first = matching[0]
    added = [grant for grant in matching if _covers(grant, first)]
    if not all(grant.groups for grant in added):
        return Grant(scopes=first.scopes)
    return Grant(scopes=first.scopes, groups=tuple(dict.fromkeys(name for grant in added for name in grant.groups)))


def _covers(grant: Grant, other: Grant) -> bool:
    """Whether it has all scopes of the other one; `admin` includes all but `profiles`."""
    missing = set(other.scopes) - set(grant.scopes)
    return not missing or ("admin" in grant.scopes and missing <= {"read", "write", "redeem", "support"})
