"""The page in a real browser, from file://: silent, offline, sortable, readable and inside its width."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}

# Relative luminance and contrast as in WCAG 2.2, of every text against the nearest opaque background behind it.
CONTRAST = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const lum = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    let colour = [0, 0, 0, 0];
    for (let n = node; n && colour[3] < 1; n = n.parentElement) colour = parse(getComputedStyle(n).backgroundColor);
    return colour;
  };
  const worst = {ratio: 99, text: ""};
  const texts = "p, h1, h2, h3, li, td, th, dt, dd, a, button, span, code, label, summary, strong";
  for (const node of document.querySelectorAll(texts)) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || node.closest("[aria-hidden=true], svg") || !node.getClientRects().length) continue;
    const [a, b] = [lum(parse(getComputedStyle(node).color)), lum(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) Object.assign(worst, {ratio, text: node.textContent.trim().slice(0, 40)});
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium on the PATH (see docs/report.md)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any, page_folder: Path) -> Iterator[Any]:
    """Opens the page; afterwards nothing may have been said on the console or asked of the network."""
    opened, noise = [], []

    def open_page(size: str = "desktop", scheme: str = "light", folder: Path = page_folder) -> Any:
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else noise.append(request.url))
        page.goto((folder / "index.html").as_uri())
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert noise == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_the_page_keeps_its_width_and_its_text_stands_out(visit: Any, size: str, scheme: str) -> None:
    page = visit(size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
    assert dark == (scheme == "dark")


def test_a_click_on_a_header_sorts_and_another_turns_it_round(visit: Any) -> None:
    page = visit()
    header = page.locator("#results-table th", has_text="Mean")
    means = "[...document.querySelectorAll('#results-table tbody tr')].map(r => Number(r.cells[3].dataset.value))"
    header.get_by_role("button").click()
    found = page.evaluate(means)
    assert found == sorted(found) and header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert page.evaluate(means) == found[::-1] and header.get_attribute("aria-sort") == "descending"
    assert page.locator("#results-table th[aria-sort=none]").count() == 10


def test_sorting_works_from_the_keyboard_and_figures_that_are_missing_stay_last(visit: Any) -> None:
    page = visit()
    page.locator("#results-table th", has_text="95% interval").get_by_role("button").focus()
    lows = "[...document.querySelectorAll('#results-table tbody tr')].map(r => r.cells[5].dataset.value)"
    for key in ("Enter", "Space"):
        page.keyboard.press(key)
        found = page.evaluate(lows)
        first_missing = found.index("")
        assert set(found[first_missing:]) == {""} and "" not in found[:first_missing]


def test_the_search_leaves_the_rows_that_have_every_word(visit: Any) -> None:
    page = visit()
    page.get_by_label("Find").first.fill("probe_cpc accuracy")
    assert page.locator("#results-table tbody tr:visible").count() == 3
    assert page.locator("[data-count=results-table]").text_content().startswith("3 of ")


def test_charts_are_drawn_and_the_legend_switches_lines(visit: Any) -> None:
    page = visit()
    learning = page.locator("[data-chart=learning]")
    assert learning.locator("figure svg").count() == 3  # kNN, RankMe and the loss; the rest is folded away
    lines = learning.locator("figure").first.locator("path.line:not(.seed)")
    before = lines.count()
    button = learning.get_by_role("button", name="simclr")
    button.click()
    assert lines.count() == before - 1 and button.get_attribute("aria-pressed") == "false"
    button.dblclick()
    assert lines.count() == 1
    learning.locator("summary").click()
    page.wait_for_function("document.querySelectorAll('[data-chart=learning] details figure svg').length === 2")


def test_hovering_over_a_chart_names_the_values_and_over_the_map_the_item(visit: Any) -> None:
    page = visit()
    chart = page.locator("[data-chart=share] figure")
    chart.scroll_into_view_if_needed()
    chart.locator("svg").hover(position={"x": 560, "y": 80})
    assert "probe_simclr" in chart.locator(".tip").text_content() and "10%" in chart.locator(".tip").text_content()
    panel = page.locator("[data-chart=maps] figure").first
    point = panel.locator("circle").nth(7)
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert panel.locator(".tip code").text_content().startswith("digit-")
    assert panel.locator(".point.near").count() == 1


def test_other_systems_can_be_chosen_and_simulated_ones_say_so(visit: Any) -> None:
    page = visit()
    panel = page.locator("[data-chart=share]")
    panel.locator("select").select_option(label="speech · accuracy")
    assert panel.get_by_role("button", name="probe_cpc (simulated)").count() == 1


def test_pointing_at_a_node_traces_what_it_was_made_from(visit: Any) -> None:
    page = visit()
    page.locator(".dag .node[data-id='fit/probe_simclr']").focus()
    traced = set(page.evaluate("[...document.querySelectorAll('.dag .node.on')].map(n => n.dataset.id)"))
    assert traced == {"ingest/digits", "pretrain/simclr", "extract/simclr_clip", "fit/probe_simclr", "evaluate/quickstart"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.report.workspace import the_plan, with_sweep, write, write_report

    return write_report(write(tmp_path_factory.mktemp("swept"), with_sweep(the_plan())))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_a_sweep_keeps_the_width_and_shows_a_chart_for_each_figure(visit: Any, swept: Path, size: str, scheme: str) -> None:
    page = visit(size, scheme, folder=swept)
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    charts = page.locator("#sweeps figure")
    assert charts.count() == 2 and charts.first.locator("circle.dot").count() == 4
    assert "1.0" in charts.first.locator("svg").text_content()


def test_variants_are_folded_found_sorted_below_their_base_and_revealed_by_a_link(visit: Any, swept: Path) -> None:
    page = visit(folder=swept)
    variant = page.locator("[id='node-pretrain/simclr__temperature_0_1']")
    assert not variant.is_visible() and ", 12 folded" in page.locator("[data-count=nodes-table]").text_content()
    fold = page.locator("[id='node-pretrain/simclr'] button.fold")
    fold.click()
    assert variant.is_visible() and fold.get_attribute("aria-expanded") == "true"
    page.locator("#nodes-table th", has_text="Node").get_by_role("button").click()
    keys = page.evaluate("[...document.querySelectorAll('#nodes-table tbody tr')].map(r => r.dataset.row)")
    at = keys.index("pretrain/simclr")
    assert all(key.startswith("pretrain/simclr__temperature_") for key in keys[at + 1 : at + 4]) and len(keys) == 54
    fold.click()
    assert not variant.is_visible()
    page.get_by_label("Find").nth(1).fill("pretrain temperature_0_1")
    assert page.locator("#nodes-table tbody tr:visible").count() == 1 and variant.is_visible()
    page.get_by_label("Find").nth(1).fill("")
    assert not variant.is_visible()
    page.locator(".dag .node[data-id='pretrain/simclr__temperature_0_1']").click()
    variant.wait_for(timeout=10_000)  # the page hears of its address's new end a moment later


def test_a_page_without_anything_is_whole_too(visit: Any, tmp_path: Path) -> None:
    from stages.common.workspace import Workspace
    from tests.report.workspace import write_report

    page = visit("phone", folder=write_report(Workspace(tmp_path)))
    assert page.locator(".empty").count() == 8
    assert page.evaluate("document.documentElement.scrollWidth") == 390
