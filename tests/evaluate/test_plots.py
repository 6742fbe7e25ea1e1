from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from crossrank.collections import open_collection
from crossrank.evaluate.plots import histogram, quality_and_speed
from crossrank.evaluate.run import Options, evaluate_one
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir, write_model


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    inside = tmp_path_factory.mktemp("plots")
    system = open_system(str(write_model(inside / "tiny")))
    worlds = [open_collection(str(write_beir(inside / name))) for name in ("one", "two")]
    return [evaluate_one(world, [system], Options(work=inside)) for world in worlds]


def test_pictures_are_svg_without_anything_from_elsewhere(tables):
    for svg in (quality_and_speed(tables), *(histogram(tables[0], outcome) for outcome in tables[0].outcomes)):
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        references = re.findall(r'(?:href="|url\()([^")]+)', svg)
        assert references
        assert all(reference.startswith("#") for reference in references)
        defined = {element.get("id") for element in root.iter()}
        assert {reference.removeprefix("#") for reference in references} <= defined


def test_pictures_on_one_page_share_no_id(tables):
    pictures = [histogram(table, outcome) for table in tables for outcome in table.outcomes]
    ids = [found for svg in pictures for found in set(re.findall(r'\bid="([^"]+)"', svg))]
    assert len(ids) == len(set(ids))


def test_without_any_known_time_there_is_no_speed_to_draw(tables, tmp_path):
    (tmp_path / "a.run").write_text("q1 Q0 d1 1 1 x\n")
    table = evaluate_one(
        tables[0].collection, [open_system(f"run:{tmp_path / 'a.run'}")], Options(work=tmp_path, limit_queries=4)
    )
    assert quality_and_speed([table]) is None
    assert histogram(table, table.outcomes[1]).startswith("<svg")
