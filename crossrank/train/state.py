"""DIR.training, the state of a run: what it was begun with, its rows, checkpoints, finished stages and scores.

What has been trained is gone on from only with the recipe, data, dev sets and base model that it was trained with.
Stages that have not begun may change.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossrank.errors import InputError
from crossrank.train.trainer import latest_checkpoint

__all__ = ["drop_state", "hold_state", "read_json", "stage_folder", "write_json"]

KEPT = "run.json"
Content = Mapping[str, Any]


def stage_folder(state: Path, number: int, name: str) -> Path:
    """Of a stage's rows, checkpoints and model; number: from 1."""
    return state / f"{number}-{name}"


def hold_state(state: Path, now: Content, *, restart: bool) -> None:
    """Make or find the state of a run.

    now: "recipe" as JSON spells it, "data", the hash of each file, and what else decides the run. restart: throw the
    state of an earlier run away. InputError names what differs from what was trained with.
    """
    _remove(_done(state))
    if restart:
        _remove(state)
    state.mkdir(parents=True, exist_ok=True)
    then = read_json(state / KEPT, None)
    if then is None and any(state.iterdir()):
        raise InputError(
            f"{state} has no {KEPT} to say what it was begun with; --restart throws it away, another --into leaves it"
        )
    if then is not None and then != now:
        _let_change(state, then, now)
    write_json(state / KEPT, now)


def drop_state(state: Path) -> None:
    """Remove the state at once: half of one that a kill left would be gone on from."""
    os.replace(state, _done(state))
    _remove(_done(state))


def read_json(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else otherwise


def write_json(path: Path, value: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _let_change(state: Path, then: Content, now: Content) -> None:
    """Drop what rests on what has changed and was not trained on; InputError for what was."""
    old, new = list(_stages(then)), list(_stages(now))
    folders = [stage_folder(state, number, stage["name"]) for number, (stage, _) in enumerate(old, 1)]
    trained = max((number for number, folder in enumerate(folders, 1) if _has_begun(folder)), default=0)
    if not trained:
        _remove(state)
        state.mkdir()
        return
    same = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(new))
    differ = [key for key, value in now["recipe"].items() if key != "stage" and value != then["recipe"].get(key)]
    differ += [name for name in now if name not in ("recipe", "data") and now[name] != then.get(name)]
    cure = ""
    if same < trained:
        if same == trained - 1 and not differ:
            cure = f"; without {folders[same]} that stage alone begins anew"
        differ += _differences(old[same], new[same] if same < len(new) else None)
    if differ:
        listed = ", ".join(dict.fromkeys(differ))
        raise InputError(
            f"{state} holds a run of another recipe or other data ({listed} differ); --restart throws it away, "
            f"another --into leaves it{cure}"
        )
    for folder in folders[same:]:
        _remove(folder)


def _stages(content: Content) -> Iterator[tuple[Content, Content]]:
    """Each stage, and the hashes of its files."""
    for stage in content["recipe"]["stage"]:
        yield stage, {source["path"]: content["data"][source["path"]] for source in stage["source"]}


def _differences(old: tuple[Content, Content], new: tuple[Content, Content] | None) -> list[str]:
    name = old[0]["name"]
    if new is None:
        return [f"stage {name}"]
    keys = [f"{name}.{key}" for key, value in new[0].items() if value != old[0].get(key)]
    return keys + [path for path, found in new[1].items() if path in old[1] and found != old[1][path]]


def _has_begun(folder: Path) -> bool:
    return (folder / "model").is_dir() or latest_checkpoint(folder / "checkpoints") is not None


def _done(state: Path) -> Path:
    return state.with_name(f"{state.name}.done")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
