"""The gallery: a card for each notebook, with its question, a picture, its time and its page; and it stays offline."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest

from landscape.notebooks.batch import Outcome
from landscape.notebooks.catalog import entry_of
from landscape.notebooks.gallery import index_page, make_gallery, pictures_of
from landscape.notebooks.pictures import main
from tests.browser import CHROMIUM, flags
from tests.notebooks.small import PNG, code, picture, write


def outcome(path: Path, **values) -> Outcome:
    return Outcome(
        **{"name": path.stem, "notebook": path, "html": path.with_suffix(".html"), "seconds": 12.3, **values}
    )


def with_outputs(path: Path, *cells: tuple[tuple[str, ...], list[dict]]) -> Path:
    """Add cells (tags, MIME bundles) to a notebook, as if they had been run."""
    notebook = nbformat.read(path, as_version=4)
    for tags, bundles in cells:
        outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
        notebook.cells.append(nbformat.v4.new_code_cell("1", metadata={"tags": list(tags)}, outputs=outputs))
    nbformat.write(notebook, path)
    return path


def test_pictures_are_those_of_tagged_cells_else_the_first_there_is(tmp_path):
    first, second = (
        {"image/png": base64.b64encode(data).decode(), "text/plain": data.decode()} for data in (b"1", b"2")
    )
    path = write(tmp_path / "a.ipynb")
    assert pictures_of(path) == [] == pictures_of(tmp_path / "none.ipynb")
    with_outputs(path, ((), [first, {"text/plain": "no image"}]))
    assert [p.text for p in pictures_of(path)] == ["1"]
    with_outputs(path, (("picture",), [{"text/plain": "x"}, second]))
    assert [(p.png, p.text) for p in pictures_of(path)] == [(b"2", "2")]


def test_the_index_holds_questions_pictures_times_and_failures(tmp_path):
    shown = {"image/png": PNG, "text/plain": 'a "b"'}
    good = with_outputs(write(tmp_path / "01_good.ipynb", title="Is it <good>?"), (("picture",), [shown]))
    (tmp_path / "01_good.html").write_text("")
    bad = write(tmp_path / "02_bad.ipynb", title="Bad?")
    ended = {"01_good": outcome(good), "02_bad": outcome(bad, error="02_bad.ipynb: cell failed <\n> 1 | a")}
    page = index_page([entry_of(good), entry_of(bad)], ended, "quick")
    assert '<a href="01_good.html">Is it &lt;good&gt;?</a>' in page
    assert f'<img alt="a &quot;b&quot;" src="data:image/png;base64,{PNG}"' in page
    assert "The first paragraph." in page and "01_good, run in 12 s" in page
    assert "Failed: 02_bad.ipynb: cell failed &lt;</p>" in page
    assert "<h2>Bad?</h2>" in page and 'class="picture none"' in page  # it has no page and no picture
    assert "prefers-color-scheme: dark" in page and "default-src 'none'" in page
    assert not re.search(r"https?://|src=\"(?!data:)|<script", page)


def test_formulas_in_a_question_and_its_excerpt_are_drawn(tmp_path):
    about = r"Multiply by $c > 0$ the *largest* eigenvalue $\lambda_{\max}$, for $5 or $6, in `$HOME` or `$PATH`."
    path = write(tmp_path / "01_one.ipynb", title="What does $c$ do?", about=about)
    assert entry_of(path).about == about.replace("*", "").replace("`", "")
    page = index_page([entry_of(path)], {"01_one": outcome(path)}, "quick")
    labels = re.findall(r'<svg class="math" role="img" aria-label="([^"]*)"', page)
    assert labels == ["c", "c &gt; 0", r"\lambda_{\max}"]
    shown = re.sub(r"<svg.*?</svg>", "", page)
    assert "Multiply by  the largest eigenvalue ," in shown
    assert "for $5 or $6, in $HOME or $PATH." in shown and "\\" not in shown


@pytest.mark.notebook
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_it_opens_offline_and_leads_to_the_pages(tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    notebooks = [
        write(tmp_path / "01_one.ipynb", code(picture(), "picture"), "print(profile, mode)", title="One?"),
        write(
            tmp_path / "02_two.ipynb", "1 / 0", title="A question with many words, so that it takes more than a line?"
        ),
    ]
    out = tmp_path / "out" / "gallery"
    ended = list(make_gallery(notebooks, out, parameters={"rho": 2}))
    assert [bool(one.error) for one in ended] == [False, True]
    assert "quick static" in (out / "01_one.html").read_text()
    faults, requests = [], []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags())
        for width, scheme in ((1300, "light"), (390, "dark")):
            tab = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
            tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
            tab.on("pageerror", lambda error: faults.append(str(error)))
            tab.on("requestfailed", lambda request: faults.append(request.url))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto((out / "index.html").as_uri())
            assert tab.locator(".card").count() == 2
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate("document.querySelector('.card img').naturalWidth") == 1
            small = tab.evaluate(
                "[...document.querySelectorAll('.card *')].filter(e => e.innerText && !e.children.length)"
                ".map(e => parseFloat(getComputedStyle(e).fontSize)).filter(size => size < 13)"
            )
            assert small == []
            background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            tab.wait_for_url("**/01_one.html")
            assert tab.locator("h1").inner_text() == "One?"
            tab.go_back()
            tab.locator(".card").nth(1).click(position={"x": 20, "y": 20})
            tab.wait_for_url("**/02_two.html")
            assert "ZeroDivisionError" in tab.locator("pre.error").inner_text()
        browser.close()
    assert faults == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_pictures_become_files(tmp_path, capsys):
    path = write(tmp_path / "03_a.ipynb")
    assert main([str(path), str(tmp_path / "docs")]) == 2
    assert "holds no picture" in capsys.readouterr().err
    assert main([]) == 2
    with_outputs(path, (("picture",), [{"image/png": PNG}, {"image/png": PNG}]))
    assert main([str(path), str(tmp_path / "docs")]) == 0
    assert [file.name for file in sorted((tmp_path / "docs").iterdir())] == ["03_a-1.png", "03_a-2.png"]
    assert (tmp_path / "docs" / "03_a-2.png").read_bytes() == base64.b64decode(PNG)
