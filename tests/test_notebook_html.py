"""The page of a notebook: everything in it, nothing from outside, and its sliders work."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest

from landscape import plotting
from landscape.errors import NotebookError
from landscape.notebooks import export_html
from landscape.notebooks.formulas import formula
from landscape.plotting.chart import Axes, Chart, Series, draw
from landscape.plotting.style import METHODS
from landscape.widgets.show import bundle
from tests.browser import CHROMIUM, flags

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXT = """# A title with $\\rho$

![a dot](dot.png) ![remote](https://example.org/a.png)

## Second & last

$$\\frac{1}{N}\\sum_n \\ell_n \\le \\varepsilon$$

| a | b |
|---|---|
| 1 | 2 |

### Third
"""


def _sliding():
    """A point that moves along a curve, with its own numbers at every stop."""
    radii, loss = np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.4, 2.0])
    curve = Series(name="SGD", x=radii, y=loss, style=METHODS["sgd"], markers=False)

    def at(index: int):
        point = Series(name="", x=radii[[index]], y=loss[[index]], style=METHODS["sgd"], line=False)
        panel = Axes(series=(curve, point), x_label="radius", y_label="loss", log_y=True)
        said = f"SGD {loss[index]:g} (×{loss[index] / loss[0]:.3g})"
        return draw(Chart(title="How much does the loss rise?", caption=said, panels=(panel,)), "plotly")

    return plotting.slider_figure({f"{radius:g}": at(k) for k, radius in enumerate(radii)}, name="radius")


def _surface():
    import plotly.graph_objects as go

    return go.Figure([go.Surface(z=[[0, 1], [1, 2]])], {"title": {"text": "</script><!--"}})


@pytest.fixture
def page(tmp_path) -> Path:
    """A page with every kind of output."""
    import base64

    v4 = nbformat.v4
    (tmp_path / "dot.png").write_bytes(base64.b64decode(PNG))
    figures = [
        v4.new_output("display_data", json.loads(json.dumps(bundle(figure)))) for figure in (_sliding(), _surface())
    ]
    outputs = [
        v4.new_output("stream", name="stdout", text="\x1b[31mplain\x1b[0m <text>\n"),
        v4.new_output("stream", name="stderr", text="a warning\n"),
        v4.new_output("display_data", {"image/png": PNG, "text/plain": 'a "picture"'}),
        v4.new_output("display_data", {"text/html": "<table id='made'></table>", "text/plain": "table"}),
        v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "VBox()"}),
        *figures,
    ]
    cells = [
        v4.new_markdown_cell(TEXT),
        v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("print('</script>')", outputs=outputs),
    ]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "run.ipynb")
    return export_html(tmp_path / "run.ipynb", tmp_path / "run.html")


def test_page_holds_every_output_and_one_plotly(page):
    html = page.read_text()
    assert "plain &lt;text&gt;" in html and "a warning" in html
    assert f'alt="a &quot;picture&quot;" src="data:image/png;base64,{PNG}"' in html
    assert "<table id='made'>" in html and "VBox()" not in html and "open it in JupyterLab" in html
    assert html.count('class="plotly-data"') == 2
    assert html.count("plotly.js v") == 1
    assert "Parameters and their defaults" in html and "<details" in html
    assert "</script><!--" not in html
    assert len(html) < 8_000_000


def test_page_has_title_contents_and_readable_formulas(page):
    html = page.read_text()
    assert 'href="#second-last-1"' in html and 'id="second-last-1"' in html
    assert "<title>A title" in html
    assert html.count('<svg class="math"') == 2 and 'aria-label="\\rho"' in html
    assert "$$" not in html.split("<main>")[1].split("</main>")[0].split("plotly-data")[0]


def test_page_asks_for_nothing_outside(page):
    head = page.read_text().split("<main>")[0]
    assert "default-src 'none'" in head
    body = page.read_text().split("<main>")[1].split("</main>")[0]
    assert f'<img alt="a dot" src="data:image/png;base64,{PNG}"' in body
    assert '<a href="https://example.org/a.png">remote</a>' in body
    assert 'src="http' not in body and "<link" not in body


def test_a_page_without_figures_carries_no_plotly(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Words")]), tmp_path / "a.ipynb")
    assert len(export_html(tmp_path / "a.ipynb", tmp_path / "a.html").read_text()) < 50_000
    with pytest.raises(NotebookError, match="no notebook"):
        export_html(tmp_path / "b.ipynb", tmp_path / "b.html")


def test_a_formula_that_cannot_be_drawn_stays_readable():
    assert formula("\\weird{<x>}") == "<code>\\weird{&lt;x&gt;}</code>"
    assert formula("\\lVert\\delta\\rVert_2 \\tfrac12", block=True).startswith('<div class="formula"><svg')


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_figures_draw_the_slider_moves_and_nothing_is_fetched(page):
    sync = pytest.importorskip("playwright.sync_api")
    faults, requests = [], []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags())
        tab = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="dark")
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-figures]", state="attached", timeout=60_000)
        assert tab.evaluate("document.documentElement.dataset.figures") == "2"
        assert tab.locator(".plotly-target .main-svg").count() >= 2
        assert tab.locator(".plotly-target canvas").count() >= 1
        target = tab.locator(".plotly-target").first
        target.scroll_into_view_if_needed()
        marked = "() => document.querySelector('.plotly-target')._fullData.filter(t => t.mode == 'markers')[0].x[0]"
        assert tab.evaluate(marked) == 0
        box = target.locator(".slider-rail-touch-rect").bounding_box()
        tab.mouse.click(box["x"] + 0.98 * box["width"], box["y"] + box["height"] / 2)
        for _ in range(100):  # not wait_for_function: it evaluates text, which the page's policy forbids
            if tab.evaluate(marked) == 1:
                break
            tab.wait_for_timeout(100)
        assert tab.evaluate(marked) == 1
        assert "SGD 2 (×20)" in tab.evaluate("document.querySelector('.plotly-target').layout.title.text")
        light = tab.evaluate("document.querySelector('.plotly-target').layout.font.color")
        assert light == "#e2e6ea"
        assert _overlaps(tab) == []
        tab.set_viewport_size({"width": 420, "height": 900})
        tab.wait_for_timeout(1000)  # for the figures to follow
        assert _overlaps(tab) == []
        within = "const [figure, page] = [document.querySelector('figure.plotly'), document.documentElement];"
        within += "return [page.scrollWidth <= window.innerWidth, figure.scrollWidth > figure.clientWidth];"
        assert tab.evaluate(f"() => {{ {within} }}") == [True, True]  # wide figures are scrolled, the page is not
        browser.close()
    assert not faults
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_scenes_side_by_side_turn_together(tmp_path, results):
    sync = pytest.importorskip("playwright.sync_api")
    content = json.loads(json.dumps(bundle(plotting.surface3d(results.surfaces))))
    cells = [nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", content)])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "run.ipynb")
    scenes = "['scene', 'scene2'].map(name => document.querySelector('.plotly-target')._fullLayout[name]._scene)"
    eyes = f"() => {scenes}.map(scene => JSON.stringify(scene.getCamera().eye))"
    faults = []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags())
        tab = browser.new_page(viewport={"width": 1100, "height": 900})
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(export_html(tmp_path / "run.ipynb", tmp_path / "run.html").as_uri())
        tab.wait_for_selector("html[data-figures]", state="attached", timeout=60_000)
        for number in (1, 0):
            before = tab.evaluate(eyes)
            box = tab.evaluate(f"() => {scenes}[{number}].container.getBoundingClientRect().toJSON()")
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            tab.mouse.move(x, y)
            tab.mouse.down()
            tab.mouse.move(x + 60, y + 10, steps=5)
            tab.mouse.up()
            for _ in range(50):  # not wait_for_function: it evaluates text, which the page's policy forbids
                first, second = tab.evaluate(eyes)
                if first == second != before[0]:
                    break
                tab.wait_for_timeout(100)
            assert first == second != before[0]
        browser.close()
    assert not faults


def _overlaps(tab) -> list[str]:
    """Texts of the first figure whose boxes overlap by more than two pixels."""
    return tab.evaluate(
        """() => {
          const texts = [...document.querySelectorAll('.plotly-target')[0].querySelectorAll('text')]
            .filter(t => t.textContent.trim() && t.getBoundingClientRect().width);
          const boxes = texts.map(t => t.getBoundingClientRect());
          const found = [];
          for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
            const w = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
            const h = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
            if (w > 2 && h > 2) found.push(texts[i].textContent + ' / ' + texts[j].textContent);
          }
          return found;
        }"""
    )
