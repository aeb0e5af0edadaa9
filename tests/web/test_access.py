"""For everybody: axe finds nothing serious, all can be done by keyboard, and narrow windows hold it."""

import pytest

from tests.web.conftest import open_page

TABS = ("File", "Live", "Damage", "Compare")


def serious(page):
    """What axe calls serious or critical: rule and element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    response = axe.run(page).response
    assert "color-contrast" in {each["id"] for each in response["passes"]}
    found = response["violations"]
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request, browser, server):
    with open_page(browser, server, color_scheme=request.param) as page:
        yield page


def test_axe_finds_nothing_serious_in_any_tab(seen):
    for name in TABS:
        seen.get_by_role("tab", name=name).click()
        seen.wait_for_timeout(500)
        assert serious(seen) == [], name
    seen.get_by_role("tab", name="File").click()
    seen.get_by_role("button", name="rain", exact=True).click()
    seen.locator("enh-player").wait_for()
    assert serious(seen) == []


def test_everything_by_keyboard(page):
    page.get_by_role("button", name="rain", exact=True).focus()
    page.keyboard.press("Enter")
    player = page.locator("enh-player")
    player.wait_for()
    player.get_by_role("button", name="Play").focus()
    page.keyboard.press("2")
    assert player.evaluate("player => player.choice") == "1"
    page.keyboard.press("ArrowRight")
    assert player.evaluate("player => player.choice") == "removed"
    page.keyboard.press(" ")
    player.get_by_role("button", name="Pause").wait_for()
    page.keyboard.press(" ")
    player.get_by_role("button", name="Play").wait_for()
    slider = player.get_by_role("slider")
    slider.focus()
    before = float(slider.input_value())
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > before


@pytest.mark.parametrize("width", [375, 1600])
def test_no_window_is_too_narrow(browser, server, width):
    with open_page(browser, server, viewport={"width": width, "height": 800}) as page:
        for name in TABS:
            tab = page.get_by_role("tab", name=name)
            if tab.count() == 0 or not tab.first.is_visible():
                page.get_by_role("button", name="More tabs").click()
            page.get_by_role("tab", name=name).or_(
                page.get_by_role("button", name=name, exact=True)
            ).first.click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
