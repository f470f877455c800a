"""The page in a real browser, opened from disk."""

import json
from pathlib import Path

import pytest

from dashboards import build, build_scoreboard
from tests.dashboards.browser import Browser
from tests.dashboards.fake_run import FakeRun
from tests.dashboards.test_scoreboard import RUN, cell, content

DRAWN = "document.documentElement.dataset.drawn"
COLUMN = "[...document.querySelectorAll('#losses tbody tr')].map((row) => row.cells[{}].textContent.trim())"

#: What ends right of a phone's screen and does not scroll inside its own box.
TOO_WIDE = """
[...document.querySelectorAll('main *')]
  .filter((part) => !part.closest('.scroll, pre, svg, .svg-container, details'))
  .filter((part) => part.getBoundingClientRect().right > 391)
  .map((part) => part.className)
"""
LABELS = "[...document.querySelectorAll('#posthoc-figure .ytick')].map((tick) => tick.textContent)"


@pytest.fixture(scope="module")
def opened(browser: Browser, page: Path) -> Browser:
    browser.view(1280, 900)
    browser.open(page.as_uri())
    return browser


def test_all_figures_are_drawn_and_the_console_is_silent(opened: Browser) -> None:
    assert opened.evaluate(DRAWN) == "true"
    plots = opened.evaluate("document.querySelectorAll('.plot').length")
    assert plots > 25
    assert opened.evaluate("document.querySelectorAll('.plot .main-svg .plot, .plot .main-svg').length") >= plots
    assert opened.console == []


def test_nothing_is_fetched(opened: Browser) -> None:
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in opened.requests if url.startswith("file:")] == [opened.evaluate("location.href")]
    names = opened.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in names if not name.startswith("data:")] == []


def test_a_table_sorts_by_a_click_on_its_header(opened: Browser) -> None:
    losses = opened.evaluate(COLUMN.format(0))
    assert losses[-1] == "ce"
    means = [float(text.split(" ")[0]) for text in opened.evaluate(COLUMN.format(1))]
    assert means == sorted(means, reverse=True)
    press = "document.querySelectorAll('#losses th button')[{}].click()"
    opened.evaluate(press.format(1))
    assert opened.evaluate(COLUMN.format(0)) == losses[::-1]
    opened.evaluate(press.format(2))
    assert opened.evaluate(COLUMN.format(0)) == [*losses[:-1][::-1], "ce"]
    opened.evaluate(press.format(2))
    assert opened.evaluate(COLUMN.format(0)) == losses
    sorts = opened.evaluate("[...document.querySelectorAll('#losses th')].map((th) => th.getAttribute('aria-sort'))")
    assert sorts[:4] == ["none", "none", "descending", "none"]


def test_sorting_works_from_the_keyboard(opened: Browser) -> None:
    opened.evaluate("document.querySelector('#losses th button').focus()")
    for kind in ("keyDown", "keyUp"):
        opened.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert opened.evaluate(COLUMN.format(0)) == ["ce", "hem", "hem+", "logit_adjusted", "logitnorm"]


def test_csv_is_made_in_the_page(opened: Browser) -> None:
    opened.evaluate(
        "window.saved = null; window.made = URL.createObjectURL; "
        "URL.createObjectURL = (blob) => { window.saved = blob; return 'data:,'; }; "
        "document.querySelector('.csv[data-key=losses]').click(); URL.createObjectURL = window.made; 1"
    )
    text = opened.evaluate("window.saved.text()")
    assert text.startswith("method,loss,arm,probe,dataset,slice,metric")
    assert len(text.strip().splitlines()) == 6


def test_latex_is_the_table_as_it_is_sorted(opened: Browser) -> None:
    opened.evaluate(
        "window.saved = null; window.made = URL.createObjectURL; "
        "URL.createObjectURL = (blob) => { window.saved = blob; return 'data:,'; }; "
        "document.querySelector('.latex[data-key=losses]').click(); URL.createObjectURL = window.made; 1"
    )
    lines = opened.evaluate("window.saved.text()").splitlines()
    first, last = lines.index(r"\midrule"), lines.index(r"\bottomrule")
    names = [line.split(" & ")[0] for line in lines[first + 1 : last]]
    assert names == [name.replace("_", r"\_") for name in opened.evaluate(COLUMN.format(0))]
    assert all(line.endswith("\\\\") for line in lines[first + 1 : last])
    assert {line.count(" & ") for line in lines[first - 1 : last] if " & " in line} == {lines[first - 1].count(" & ")}
    assert r"$\pm$" in lines[first + 1]
    assert not any("−" in line or "±" in line for line in lines)


def test_a_loss_can_be_hidden_in_every_figure(opened: Browser) -> None:
    shown = (
        "[...document.querySelectorAll('.plot')].flatMap((plot) => plot.data)"
        ".filter((trace) => trace.legendgroup === 'hem' && trace.visible !== false).length"
    )
    assert opened.evaluate(shown) > 20
    opened.evaluate("document.querySelector('.chip[data-loss=hem]').click()")
    opened.settle()
    assert opened.evaluate(shown) == 0
    assert opened.evaluate("document.querySelectorAll('.chip[data-loss=hem][aria-pressed=true]').length") == 0
    opened.evaluate("document.querySelector('.chip[data-loss=hem]').click()")
    opened.settle()
    assert opened.evaluate(shown) > 20


def test_the_theme_button_changes_page_and_figures(opened: Browser) -> None:
    ink = "document.querySelector('#arms-figure .plot').layout.font.color"
    page = "getComputedStyle(document.body).backgroundColor"
    assert opened.evaluate(ink) == "#1c2126"
    assert opened.evaluate(page) == "rgb(252, 252, 251)"
    opened.evaluate("document.getElementById('theme').click()")
    opened.wait_for(f"{ink} === '#e3e6e9'")
    assert opened.evaluate(page) == "rgb(20, 23, 26)"
    grids = "[...document.querySelectorAll('.plot')].map((plot) => plot.layout.xaxis.gridcolor)"
    opened.wait_for(f"{grids}.every((color) => color === '#292e33')")
    opened.evaluate("document.getElementById('theme').click()")
    opened.wait_for(f"{ink} === '#1c2126'")
    opened.evaluate("localStorage.clear()")


def test_export_has_the_title_and_the_legend(opened: Browser) -> None:
    opened.evaluate(
        "window.kept = Plotly.downloadImage; Plotly.downloadImage = (figure, how) => { window.job = [figure, how]; }; "
        "document.querySelectorAll('#arms-figure .modebar-btn')[1].click(); Plotly.downloadImage = window.kept; 1"
    )
    job = opened.evaluate("({format: job[1].format, name: job[1].filename, legend: job[0].layout.showlegend})")
    assert job == {"format": "svg", "name": "arms-figure-1", "legend": True}
    assert opened.evaluate("job[0].layout.title.text") == "balanced accuracy"
    assert opened.evaluate("Plotly.toImage(job[0], job[1]).then((url) => url.slice(0, 18))") == "data:image/svg+xml"
    assert opened.evaluate("[...document.querySelectorAll('.modebar-btn--logo')].length") == 0


def test_contents_are_beside_the_text_on_wide_screens(opened: Browser) -> None:
    assert opened.evaluate("document.getElementById('contents').open") is True
    nav, main = (opened.evaluate(f"document.querySelector('{name}').offsetLeft") for name in ("nav", "main"))
    assert nav < main


def test_printing_keeps_the_theme_afterwards(opened: Browser) -> None:
    document = opened.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.7)["data"]
    assert len(document) > 100_000
    opened.settle()
    assert opened.evaluate("document.documentElement.dataset.theme") == "light"
    assert opened.console == []


def test_words_stay_below_the_numbers_whichever_way_a_column_is_sorted(browser: Browser, tmp_path: Path) -> None:
    names, cells = ("a", "b", "c", "d", "e", "f"), []
    for name, difference in zip(names, (-0.1, None, 0.03, -0.02, None, 0.11), strict=True):
        known = {"difference": difference, "ours": "no information" if name == "b" else "undecided"}
        cells += [{**cell("ce"), "run": name}] + [{**cell("hem+", **known), "run": name}] * (name != "e")
    source = tmp_path / "scoreboard.json"
    runs = [{**RUN, "name": name, "task": name, "lead_variant": "hem+"} for name in names]
    source.write_text(json.dumps(content(runs=runs, cells=cells)), encoding="utf-8")
    browser.view(1280, 900)
    browser.open(build_scoreboard(source).as_uri())
    order = "[...document.querySelectorAll('#tuned-table tbody tr')].map((row) => row.cells[0].textContent.trim()[0])"
    press = "document.querySelectorAll('#tuned-table th button')[4].click()"
    for expected in ("adcfbe", "fcdabe"):
        browser.evaluate(press)
        assert "".join(browser.evaluate(order)) == expected


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, page: Path) -> None:
    browser.view(390, 844)
    browser.open(page.as_uri() + "#all")
    assert browser.evaluate(DRAWN) == "true"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate("document.getElementById('contents').open") is False
    assert browser.console == []


def test_the_dark_theme_follows_the_system(browser: Browser, tmp_path: Path) -> None:
    run = FakeRun(losses=("ce", "hem"), arms=("tuned",), seeds=1, trials=4, epochs=3)
    browser.view(390, 844, dark=True)
    browser.open(build(run.write(tmp_path, only=["trials", "timing"])).as_uri())
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert browser.evaluate("document.querySelector('.plot').layout.font.color") == "#e3e6e9"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.console == []


def test_hostile_names_run_nothing_and_are_drawn_as_text(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=boom()>"
    losses = ("ce", name, "</script><script>boom()</script>", "$x$ %{y}")
    run = FakeRun(losses=losses, arms=("tuned",), seeds=1, trials=4, epochs=3)
    browser.view(1280, 900)
    browser.open(build(run.write(tmp_path)).as_uri())
    assert browser.evaluate(DRAWN) == "true"
    assert browser.console == []
    assert browser.evaluate("document.querySelectorAll('img:not(.mosaic img)').length") == 0
    labels = browser.evaluate(LABELS)
    assert "ce" in labels
    assert "$x$ %{y}" in labels
    assert any(label.endswith("onerror=boom()>") for label in labels)


def test_a_run_with_nothing_in_it_opens(browser: Browser, bare_dir: Path) -> None:
    browser.view(390, 844)
    browser.open(build(bare_dir).as_uri())
    assert browser.evaluate(DRAWN) == "true"
    assert browser.evaluate("document.querySelectorAll('.note.missing').length") >= 12
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.console == []


def test_no_browser_is_an_error_not_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="there is no chromium on the PATH"):
        Browser(tmp_path / "profile")
