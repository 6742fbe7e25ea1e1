"""The pages, fetched and, where a browser is installed, driven."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLAYGROUND = Path(__file__).resolve().parents[2] / "crossrank" / "serve" / "playground"
# Without these, Chromium looks for hosts of its maker at every start.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


def test_nothing_comes_from_another_host(live):
    for path in ("/", "/playground/app.js", "/playground/style.css", "/docs"):
        page = live.http.get(path)
        assert page.status_code == 200
        assert not re.search(r"(src|href|url\()\s*=?\s*[\"'(]?(https?:)?//", page.text), path
    for asset in re.findall(r'(?:src|href)="([^"]+)"', live.http.get("/docs").text):
        assert live.http.get(asset).status_code == 200, asset


@pytest.mark.parametrize("dialect", ["tei", "weaviate"])
def test_the_playground_asks_in_its_own_format_whatever_the_server_s(serve, dialect):
    with serve(dialect=dialect) as live:
        paths = re.findall(r'base \+ "([^"]+)"', live.http.get("/playground/app.js").text)
        (route,) = [path for path in paths if path.endswith("rerank")]
        body = {"query": "q", "documents": ["d"], "return_documents": False}
        assert "relevance_score" in live.post("/" + route, body).json()["results"][0]


def test_a_server_may_do_without_pages(serve):
    with serve(playground=False) as live:
        assert live.http.get("/").status_code == 404
        assert live.http.get("/docs").status_code == 404


def test_a_browser_is_asked_for_the_key_as_a_password(serve):
    with serve(api_key=("k",)) as live:
        assert live.http.get("/").headers["www-authenticate"].startswith("Basic")
        assert live.http.get("/", auth=("anyone", "k")).status_code == 200


def test_the_description_is_openapi_and_names_every_rerank_path(live):
    description = live.http.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for path in ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/v1/ranking", "/predict", "/api/rerank"):
        body = description["paths"][path]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"]


@pytest.mark.browser
def test_a_person_ranks_highlights_copies_and_reads_errors(live, tmp_path):
    playwright_api = pytest.importorskip("playwright.sync_api")
    sync_playwright, expect = playwright_api.sync_playwright, playwright_api.expect
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        strange: list[str] = []
        page.on("request", lambda request: request.url.startswith((live.url, "data:")) or strange.append(request.url))
        page.on("pageerror", lambda error: strange.append(str(error)))
        page.on("console", lambda line: line.type == "error" and strange.append(line.text))
        page.goto(live.url)
        page.wait_for_selector("#results li:nth-child(9)")
        assert page.locator("#model option").all_inner_texts() == ["tiny · float32"]
        scores = [float(text) for text in page.locator(".score").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        page.wait_for_selector("mark")

        page.select_option("#example", "A question")
        page.wait_for_selector("#results li:nth-child(5)")
        expect(page.locator("#results li")).to_have_count(5)
        page.select_option("#top", "3")
        expect(page.locator("#results li")).to_have_count(3)

        page.fill("#documents", "first line\nsecond line")
        expect(page.locator("#results li")).to_have_count(2)
        assert "second line" in page.inner_text("#code")
        page.click("#tab-python")
        assert "import urllib.request" in page.inner_text("#code")
        page.keyboard.press("ArrowRight")
        assert "await fetch" in page.inner_text("#code")

        file = tmp_path / "some.jsonl"
        file.write_text('{"text": "from a file"}\n{"text": "another"}\n{"text": "third"}\n')
        page.set_input_files("#file", file)
        expect(page.locator("#results li")).to_have_count(3)
        assert page.input_value("#documents").startswith("from a file\nanother")
        assert strange == []

        page.route("**/v1/rerank", lambda route: route.fulfill(status=429, json={"detail": "come again later"}))
        page.click("#rank")
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem") == "come again later"
        page.unroute("**/v1/rerank")

        page.goto(f"{live.url}/docs")
        page.get_by_text("/v1/ranking").first.wait_for()
        browser.close()


@pytest.mark.browser
def test_a_narrow_screen_needs_no_sideways_scrolling(live):
    playwright_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.goto(live.url)
        page.wait_for_selector("#results li:nth-child(9)")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        browser.close()


@pytest.mark.browser
def test_the_request_to_copy_has_a_key_where_one_is_needed(serve):
    playwright_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    with serve(api_key=("k",)) as live, playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_context(http_credentials={"username": "any", "password": "k"}).new_page()
        page.goto(live.url)
        page.wait_for_selector("#results li")
        for language in ("curl", "python", "js"):
            page.click(f"#tab-{language}")
            assert "Bearer" in page.inner_text("#code")
        browser.close()


@pytest.mark.browser
def test_the_python_that_the_page_shows_runs(live):
    playwright_api = pytest.importorskip("playwright.sync_api")
    sync_playwright, expect = playwright_api.sync_playwright, playwright_api.expect
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page()
        page.goto(live.url)
        page.wait_for_selector("#results li")
        page.fill("#documents", 'a "quoted" line \\ with a backslash\nan apostrophe\'s line')
        expect(page.locator("#results li")).to_have_count(2)
        page.click("#tab-python")
        python = page.text_content("#code")
        page.click("#tab-curl")
        curl = page.text_content("#code")
        browser.close()
    shown = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True).stdout
    assert 'a "quoted" line \\ with a backslash' in shown
    assert "an apostrophe's line" in shown
    if shutil.which("curl"):
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
        assert '"results"' in answer
