"""A page used by keyboard alone: what has the focus, and how to get to something else."""

from typing import Final

from playwright.async_api import Page

TABS_MAX: Final = 120
# The name of what has the focus, as a screen reader would say it.
_FOCUSED: Final = """
() => {
  const one = document.activeElement;
  const words = one.getAttribute("aria-label") ?? one.labels?.[0]?.innerText ?? one.innerText ?? "";
  return words.trim().replace(/\\s+/g, " ");
}
"""


async def tab_to(page: Page, name: str, *, exact: bool = False) -> None:
    """Press Tab until what has this name, or begins with it, has the focus."""
    seen: list[str] = []
    for _ in range(TABS_MAX):
        await page.keyboard.press("Tab")
        focused: str = await page.evaluate(_FOCUSED)
        if focused == name or (not exact and focused.startswith(name)):
            return
        seen.append(focused)
    raise AssertionError(f"Tab leads to no {name}, but to {seen}")


async def press(page: Page, name: str) -> None:
    """Get to a button or a link by Tab, press it, and wait for the page that it leads to."""
    await tab_to(page, name, exact=True)
    await enter(page)


async def enter(page: Page) -> None:
    """Press Enter, and wait for the page that it leads to."""
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
