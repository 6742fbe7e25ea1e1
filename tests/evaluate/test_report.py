from __future__ import annotations

import functools
import http.server
import re
import shutil
import struct
import subprocess
import threading
from html.parser import HTMLParser

import pytest

from crossrank.collections import open_collection
from crossrank.evaluate.card import run_card
from crossrank.evaluate.compare import differences
from crossrank.evaluate.report import report_page
from crossrank.evaluate.run import Options, evaluate
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import DOCUMENTS, QUERIES, write_beir, write_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two collections, two systems, and queries and a document that would be markup if they were not escaped."""
    inside = tmp_path_factory.mktemp("report")
    queries = {key: f"{text} {HOSTILE}" for key, text in QUERIES.items() if text}
    documents = DOCUMENTS | {"d7": ("", f"the largest {HOSTILE}")}
    worlds = [open_collection(str(write_beir(inside / name, documents, queries))) for name in ("one", "two")]
    systems = [open_system(str(write_model(inside / f"tiny{seed}", seed))) for seed in (0, 1)]
    options = Options(work=inside)
    tables = evaluate(worlds, systems, options)
    compared = {table.collection.name: list(differences(table, "nDCG@10")) for table in tables}
    card = run_card(tables, systems, options, ["crossrank", "evaluate"])
    return report_page(tables, compared, card), tables, compared


class Outline(HTMLParser):
    """Tags in balance, text, and every address that the page asks for."""

    VOID = {"meta", "br", "hr", "img", "link"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(page):
    html, _, _ = page
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert outline.addresses
    assert all(address.startswith("#") for address in outline.addresses)
    assert "script" not in outline.tags
    assert "@import" not in html


def test_the_page_holds_every_mean_every_comparison_and_what_got_worse(page):
    html, tables, compared = page
    for table in tables:
        for outcome in table.outcomes:
            for name in table.measures:
                assert f">{outcome.mean(name):.3f}<" in html
        for difference in compared[table.collection.name]:
            assert f"{difference.low:+.3f} to {difference.high:+.3f}" in html
            if difference.losses:
                assert f"{difference.losses} queries got worse from {difference.before} to {difference.after}" in html
    assert any(d.losses for each in compared.values() for d in each), "the example should have regressions to show"
    assert "Run card" in html
    assert html.count("<svg") == 1 + sum(len(table.outcomes) for table in tables)


def test_texts_cannot_become_markup(page):
    html, _, _ = page
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_the_page_and_asks_the_network_for_nothing_else(page, tmp_path):
    html, _, _ = page
    (tmp_path / "report.html").write_text(html)
    asked = []

    class Recorder(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *arguments):
            asked.append(self.path)

    handler = functools.partial(Recorder, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/report.html"
        dom = browse(tmp_path, "--dump-dom", address)
        browse(tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1000,1400", address)
        server.shutdown()
    assert set(asked) <= {"/report.html", "/favicon.ico"}
    assert re.search(r"<title>Reranking, nDCG@10</title>", dom)
    png = (tmp_path / "page.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (1000, 1400)
    assert len(png) > 50_000, "a page that is blank or unstyled compresses to less"


def browse(folder, *arguments):
    quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=120).stdout
