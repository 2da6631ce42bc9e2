"""How far a clock may be off. Decisions use Postgres' clock alone, so codes are safe whatever the others say."""

from collections.abc import Iterator
from typing import Final

from codewell.doctor.check_result import CheckResult

CHECK: Final = "clocks"
# Below it, latencies and rates are a little wrong.
WARN_S: Final = 1.0
# Above it, receivers of webhooks and OpenID providers refuse what is signed here, or we what they sign.
ERROR_S: Final = 60.0
_MEND: Final = "synchronize both with NTP (chronyc tracking shows the state)"


def clock_finding(whose: str, offset_s: float | None, error_s: float) -> Iterator[CheckResult]:
    """A clock compared with this machine's; `error_s` is the most by which the comparison may be wrong."""
    if offset_s is None:
        yield CheckResult(CHECK, "unseen", f"the clock of {whose} is not shown to this user")
        return
    off = abs(offset_s)
    way = "ahead of" if offset_s > 0 else "behind"
    if off - error_s <= WARN_S:
        yield CheckResult(CHECK, "well", f"the clock of {whose} agrees within {max(off, error_s):.2f} s")
        return
    says = f"the clock of {whose} is {off:,.1f} s {way} this machine's"
    yield CheckResult(CHECK, "error" if off > ERROR_S else "warning", says, _MEND)
