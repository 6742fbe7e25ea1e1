from __future__ import annotations

import re

import pytest

from crossrank.collections import open_collection
from crossrank.collections.trec import read_qrels, read_topics, read_trec_documents
from crossrank.errors import InputError

TOPICS = """
<top>
<num> Number: 301
<title> International
 Organized Crime
<desc> Description:
Identify organizations.
</top>
<top><num>302</num><title>Polio</title></top>
"""
DOCUMENTS = """
<DOC>
<DOCNO> FT911-1 </DOCNO>
<HEADLINE>Crime</HEADLINE>
<TEXT>
Organized crime crosses borders.
</TEXT>
</DOC>
<doc><docno>FT911-2</docno><text>Polio vaccine.</text></doc>
"""


def test_a_folder_of_tagged_topics_and_documents_is_a_collection(tmp_path):
    (tmp_path / "topics.301-302").write_text(TOPICS)
    (tmp_path / "corpus.trec").write_text(DOCUMENTS)
    (tmp_path / "qrels.txt").write_text("301 0 FT911-1 2\n302 0 FT911-2 1\n302 0 FT911-1 -1\n")
    collection = open_collection(str(tmp_path))
    assert collection.queries == {"301": "International Organized Crime", "302": "Polio"}
    assert collection.documents["FT911-1"] == "Crime Organized crime crosses borders."
    assert collection.relevant("302") == {"FT911-2"}
    assert collection.qrels["301"] == {"FT911-1": 2}


def test_two_columns_and_jsonl_do_as_well(tmp_path):
    (tmp_path / "topics.tsv").write_text("1\twhat is polio\n")
    (tmp_path / "corpus.jsonl").write_text('{"docid": 7, "contents": "Polio."}\n')
    (tmp_path / "more.tsv").write_text("8\tVaccine.\n")
    assert read_topics(tmp_path / "topics.tsv") == {"1": "what is polio"}
    assert read_trec_documents(tmp_path / "corpus.jsonl") == {"7": "Polio."}
    assert read_trec_documents(tmp_path / "more.tsv") == {"8": "Vaccine."}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "a", "text": null}', '"text" should be a string or an object, not null'),
        ('{"id": "a", "text": "t", "title": 3}', '"title" should be a string, not int'),
        ('{"id": "b", "text": "again"}', "the id 'b' is there twice"),
    ],
)
def test_a_bad_document_is_named_by_file_and_line(tmp_path, line, complaint):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "b", "text": "x"}\n' + line + "\n")
    with pytest.raises(InputError, match=f"(?s){re.escape(str(path))}:2.*{re.escape(complaint)}"):
        read_trec_documents(path)


def test_an_id_in_two_files_of_a_corpus_is_refused(tmp_path):
    (tmp_path / "topics").write_text("1\twhat\n")
    (tmp_path / "qrels").write_text("1 0 a 1\n")
    for name in ("corpus-1.tsv", "corpus-2.tsv"):
        (tmp_path / name).write_text("a\ttext\n")
    with pytest.raises(InputError, match=r"corpus-2.tsv: the id 'a' is in another file"):
        open_collection(str(tmp_path))


def test_a_topic_without_number_is_named_by_its_place(tmp_path):
    (tmp_path / "topics").write_text("<top><num>1</num><title>a</title></top>\n<top><title>b</title></top>")
    with pytest.raises(InputError, match="topic 2 lacks <num>"):
        read_topics(tmp_path / "topics")


def test_topics_that_share_a_number_or_do_not_end_are_refused(tmp_path):
    (tmp_path / "topics").write_text("<top><num>1</num><title>a</title></top>\n<top><num>2</num><title>b</title>")
    with pytest.raises(InputError, match="opens <top> 2 times, and has 1 whole"):
        read_topics(tmp_path / "topics")


@pytest.mark.parametrize("line", ["1 0 d", "1 0 d relevant"])
def test_a_bad_judgement_is_named_by_file_and_line(tmp_path, line):
    path = tmp_path / "qrels"
    path.write_text(f"1 0 d 1\n{line}\n")
    with pytest.raises(InputError, match=f"{path}:2: "):
        read_qrels(path)


def test_a_line_without_a_tab_or_with_a_known_id_is_named(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text("1\ta\n2 b\n1\tc\n")
    with pytest.raises(InputError) as caught:
        read_topics(path)
    assert f"{path}:2: expected a query id, a tab" in str(caught.value)
    assert f"{path}:3: the id '1' is there twice" in str(caught.value)
