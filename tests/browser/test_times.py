"""Times as pages show them, in the zone of the viewer."""

import pytest

from tests.support.browser import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A Monday in Paris, where the browser is.
NOW = "2026-12-07T00:30:00+01:00"
_SHOWN = """
at => {
  const element = Object.assign(document.createElement("time"), { dateTime: at });
  element.dataset.ago = "";
  document.body.append(element);
  document.dispatchEvent(new Event("htmx:after:swap"));
  return element.textContent;
}
"""


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("2026-12-07T00:29:59+01:00", "1 second ago"),
        ("2026-12-06T23:30:01+01:00", "59 minutes ago"),
        ("2026-12-06T00:30:30+01:00", "23 hours ago"),
        ("2026-12-06T00:10:00+01:00", "yesterday"),
        ("2026-12-05T23:50:00+01:00", "2 days ago"),
        ("2026-12-01T00:40:00+01:00", "6 days ago"),
        ("2026-11-30T00:20:00+01:00", "Nov 30, 2026, 12:20 AM"),
    ],
)
async def test_how_long_ago_agrees_with_the_clock_and_the_calendar(visitor: Browser, at: str, words: str) -> None:
    page = await visitor.open("/try")
    await page.clock.set_fixed_time(NOW)
    shown = await page.evaluate(_SHOWN, at)
    assert shown.replace("\u202f", " ") == words
