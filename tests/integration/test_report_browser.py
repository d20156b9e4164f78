"""The report in a real Chromium: what a reader sees and clicks."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from PIL import Image
from synthetic_campaign import glass, write_campaign

from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures import plot_figures
from vitrion.report.page import SHOWN, build_report
from vitrion.structure.compositions import read_compositions

ROOT = Path(__file__).parents[2]
COMPOSITIONS = read_compositions(ROOT / "tests/toy/compositions.tsv")
WIDE, NARROW = (1280, 900), (390, 800)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("report") / "results/test"
    write_campaign(results, list(COMPOSITIONS.values()), replicas=1, flags="relative_density_drift")
    tables = CampaignTables(results)
    plot_figures(tables)
    build_report(tables, results / "report/index.html", {"campaign": "test"})
    return results / "report/index.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser, report: Path) -> Browser:
    chromium.resize(*WIDE)
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(report)
    return chromium


def keep(screenshot: bytes, name: str) -> None:
    """Write a screenshot where a person can look at it, if asked to."""
    if folder := os.environ.get("VITRION_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(screenshot)


def test_opens_offline_without_an_error(page: Browser, report: Path) -> None:
    assert page.evaluate("document.title") == "Vitrion: test"
    assert page.errors == []
    fetched = {url for url in page.requests if not url.startswith(("data:", "blob:", "about:"))}
    assert fetched == {report.resolve().as_uri()}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_fits_the_window(page: Browser, size: tuple[int, int]) -> None:
    page.resize(*size)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for anchor in (
        "numbers",
        "verdict",
        "compositions",
        "transport",
        "view",
        "tables",
        "provenance",
    ):
        page.evaluate(f"document.getElementById('{anchor}').scrollIntoView()")
        keep(page.screenshot(), f"{anchor}-{size[0]}")


def test_every_name_is_there_once(page: Browser) -> None:
    names = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(names) == len(set(names))


def test_images_are_drawn(page: Browser) -> None:
    broken = "[...document.images].filter(i => !i.complete || i.naturalWidth < 100).map(i => i.alt)"
    assert page.evaluate(broken) == []
    assert page.evaluate("document.images.length") > 15


def test_numbers_come_first_and_then_the_verdict(page: Browser) -> None:
    sections = page.evaluate("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections[:2] == ["numbers", "verdict"]
    cells = page.evaluate(
        "[...document.querySelectorAll('.numbers tbody td')].map(c => c.textContent)"
    )
    assert len(cells) == 5 * len(COMPOSITIONS)
    assert all("(" in cell for cell in cells[::5]), cells
    # One glass alone gives no activation energy, and the page says so.
    assert all("(" in cell or cell == "–" for cell in cells), cells
    if "–" in cells:
        assert "fits are flagged" in page.evaluate("document.getElementById('numbers').textContent")
    outcomes = page.evaluate("[...document.querySelectorAll('.badge')].map(b => b.textContent)")
    assert len(outcomes) == 13
    assert set(outcomes) <= {"confirmed", "refuted", "not decided"}
    # Claims that are not decided are one line until it is opened.
    assert "not decided" in outcomes
    shown = "[...document.querySelectorAll('.badge')].filter(b => b.checkVisibility())"
    assert "not decided" not in page.evaluate(f"{shown}.map(b => b.textContent)")


def test_banner_warns_before_the_first_number(page: Browser) -> None:
    text = page.evaluate("document.querySelector('main').firstElementChild.textContent")
    assert "All 12 trajectories come from glasses or runs that failed their checks" in text
    assert "do not use these numbers" in text


def test_maps_can_be_read_on_a_phone(page: Browser) -> None:
    """Text is shown at four fifths of its size or more, and no figure is cut off."""
    page.resize(*NARROW)
    figures = page.evaluate(
        "[...document.querySelectorAll('.pan')].map(p => ({name: p.firstChild.alt, wide: "
        "p.firstChild.clientWidth, of: parseFloat(p.firstChild.style.getPropertyValue('--width')),"
        " held: p.clientWidth, scrolls: p.scrollWidth}))"
    )
    assert len(figures) > 15
    for figure in figures:
        assert figure["wide"] >= 0.79 * figure["of"], figure
        assert figure["scrolls"] >= figure["wide"], figure
    maps = figures[0]
    assert maps["wide"] <= maps["held"] + 1, maps


def column(page: Browser, table: str, index: int) -> list[str]:
    rows = f"document.querySelectorAll('#table-{table} tbody tr')"
    return page.evaluate(f"[...{rows}].map(r => r.cells[{index}].textContent)")


def press(page: Browser, table: str, name: str) -> int:
    """Click a column's head; its place."""
    return page.evaluate(
        f"""(() => {{
          const heads = [...document.querySelectorAll('#table-{table} th button')];
          const index = heads.findIndex(h => h.firstChild.data === '{name}');
          heads[index].click();
          return index;
        }})()"""
    )


def test_tables_sort_by_number_and_by_name(page: Browser, report: Path) -> None:
    page.evaluate("document.querySelector('#table-diffusion summary').click()")
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    expected = pd.read_parquet(report.parents[1] / "summary/diffusion.parquet")
    index = press(page, "diffusion", "D_cm2_s")
    shown = [float(text) for text in column(page, "diffusion", index)]
    assert shown == pytest.approx(sorted(expected["D_cm2_s"]), rel=1e-3)
    press(page, "diffusion", "D_cm2_s")
    shown = [float(text) for text in column(page, "diffusion", index)]
    assert shown == pytest.approx(sorted(expected["D_cm2_s"], reverse=True), rel=1e-3)
    index = press(page, "diffusion", "species")
    assert column(page, "diffusion", index) == sorted(expected["species"])
    page.evaluate(
        """(() => { const box = document.querySelector('#table-diffusion input');
        box.value = 'kini'; box.dispatchEvent(new Event('input')); })()"""
    )
    assert set(column(page, "diffusion", 0)) == {"KInI"}


def test_every_table_opens_and_has_its_rows(page: Browser, report: Path) -> None:
    page.evaluate("document.querySelectorAll('details.data').forEach(d => { d.open = true; })")
    page.evaluate("new Promise(done => setTimeout(done, 300))")
    for name in SHOWN:
        expected = len(pd.read_parquet(report.parents[1] / f"summary/{name}.parquet"))
        assert (
            page.evaluate(f"document.querySelectorAll('#table-{name} tbody tr').length") == expected
        )


def test_csv_has_the_whole_table(page: Browser, report: Path) -> None:
    text = page.evaluate(
        """new Promise(done => {
          URL.createObjectURL = blob => { blob.text().then(done); return 'data:,'; };
          HTMLAnchorElement.prototype.click = () => {};
          const box = document.querySelector('#table-haven');
          box.open = true;
          setTimeout(() => box.querySelector('.csv').dispatchEvent(new Event('click')), 100);
        })"""
    )
    found = pd.read_csv(io.StringIO(text))
    expected = pd.read_parquet(report.parents[1] / "summary/haven.parquet")
    assert found["haven_ratio"].to_numpy() == pytest.approx(expected["haven_ratio"], rel=1e-5)
    assert found["composition"].tolist() == expected["composition"].tolist()


def test_links_lead_somewhere(page: Browser, report: Path) -> None:
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert len(links) > 50
    for link in links:
        if link.startswith("#"):
            assert page.evaluate(f"document.getElementById('{link[1:]}') !== null"), link
        else:
            assert (report.parent / link).is_file(), link


def drawn_share(page: Browser) -> float:
    """Share of the viewer that is not white, away from its border."""
    box = page.evaluate(
        "(() => { const b = document.getElementById('viewer').getBoundingClientRect();"
        " return [b.left + 2, b.top + 2, b.right - 2, b.bottom - 2]; })()"
    )
    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB").crop(box))
    return float((image.min(axis=2) < 235).mean())


def test_viewer_shows_the_glass_and_its_fragments(page: Browser) -> None:
    page.evaluate("document.getElementById('view').scrollIntoView()")
    atoms = glass(COMPOSITIONS["LiAlCl"])
    assert page.evaluate("document.getElementById('viewer').dataset.atoms") == str(len(atoms))
    assert page.evaluate("document.querySelector('#viewer canvas') !== null")
    assert "8 of 2" in page.evaluate("document.getElementById('viewer-note').textContent")
    everything = drawn_share(page)
    keep(page.screenshot(), "viewer-elements")
    assert 0.01 < everything < 0.9
    select = "(id, value) => { const e = document.getElementById(id); e.value = value;"
    select = f"({select} e.dispatchEvent(new Event('change')); }})"
    page.evaluate("document.getElementById('alone').click()")
    page.evaluate(f"{select}('mode', 'fragments')")
    alone = len(atoms) - 16
    assert page.evaluate("document.getElementById('viewer').dataset.atoms") == str(alone)
    assert drawn_share(page) < everything
    assert "2 cations" in page.evaluate("document.getElementById('legend').textContent")
    keep(page.screenshot(), "viewer-fragments")
    page.evaluate(f"{select}('glass', '2')")
    assert "KInI" in page.evaluate("document.getElementById('viewer-note').textContent")
    assert page.errors == []
