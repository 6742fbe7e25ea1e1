"""A recipe: a TOML file -> frozen dataclasses. What a recipe may say is what these fields are; all else is an error.

    base = "mini-en"                      # a folder, a bundled name or a hub name
    seed = 7

    [[dev]]                               # what is measured before, between and after the stages
    path = "dev.jsonl"

    [[stage]]
    name = "labels"
    loss = "list_net"
    steps = 300
    [[stage.source]]
    path = "train.jsonl"

Paths are relative to `data`, and that to the recipe's folder.
"""

from __future__ import annotations

import math
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from crossrank.errors import InputError
from crossrank.train.leakage import THRESHOLD
from crossrank.train.lora import Lora
from crossrank.train.losses import LOSSES

__all__ = ["SCHEDULES", "Dev", "Mixed", "Monitoring", "Recipe", "Stage", "read_recipe"]

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
PRECISIONS = ("float32", "bfloat16")
SAVED = ("float32", "float16", "bfloat16")
MEAN = "mean"  # of all dev sets, beside their names
STAGE_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """One file of a stage's data, and its weight among the stage's files."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise InputError(f"source {self.path!r}: weight should be above 0, not {self.weight}; leave the file out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """Judged queries that are measured and never trained on: a JSONL file, or a folder in BEIR layout.

    name: the path's last part unless it is given. top_k: BM25's candidates of a folder's queries. queries: at most so
    many, the first ones; 0 is all.
    """

    path: str
    name: str = ""
    top_k: int = 50
    queries: int = 0

    def __post_init__(self) -> None:
        stem = Path(self.path).name.removesuffix(".gz").removesuffix(".jsonl")
        object.__setattr__(self, "name", self.name or stem)
        if self.name == MEAN:
            raise InputError(f"dev set {self.path!r}: {MEAN!r} is that of all dev sets; give it another name")
        if self.top_k < 1 or self.queries < 0:
            raise InputError(
                f"dev set {self.name!r}: top_k should be at least 1 and queries 0 or more, "
                f"not {self.top_k} and {self.queries}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One course of training over one mix of data.

    target: "labels" or "scores", a teacher's logits; empty is the loss's own. temperature: what they are divided by,
    but for the labels of single pairs; below 1 it sharpens list_net's target, which is softmax(labels).
    batch: rows a step, over all processes. documents: of a query, at most. accumulate: parts in which a step is
    computed. warmup: the part of the steps in which the rate rises. save_every: steps between what a killed run goes
    on from. options: the loss's own settings. frozen: beginnings of names of parameters that stay as they are. keep:
    the part of what is learned that is kept; the weights end so far between those before and those after.
    """

    name: str
    loss: str
    steps: int
    source: tuple[Mixed, ...]
    target: str = ""
    temperature: float = 1.0
    batch: int = 16
    documents: int = 8
    accumulate: int = 1
    max_length: int | None = None
    learning_rate: float = 2e-5
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_gradient: float = 1.0
    gradient_checkpointing: bool = False
    save_every: int = 200
    options: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    keep: float = 1.0
    lora: Lora | None = None

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        if not STAGE_NAME.fullmatch(self.name):
            raise InputError(f"{where}: a folder is called by the name; letters, digits, '.', '_' and '-' would do")
        _among(self.loss, tuple(LOSSES), f"{where}: loss")
        kind = LOSSES[self.loss]
        object.__setattr__(self, "target", self.target or kind.targets[0])
        _among(self.target, kind.targets, f"{where}: target of {self.loss}")
        _among(self.schedule, SCHEDULES, f"{where}: schedule")
        for key in self.options:
            _among(key, tuple(kind.options), f"{where}: option of {self.loss}")
        least = {"steps": 1, "batch": 1, "accumulate": 1, "save_every": 1}
        least["documents"] = 2 if kind.shape in ("lists", "margins") else 1
        for key, low in least.items():
            if getattr(self, key) < low:
                raise InputError(f"{where}: {key} should be at least {low}, not {getattr(self, key)}")
        for key in ("learning_rate", "temperature", "max_gradient"):
            if not getattr(self, key) > 0:
                raise InputError(f"{where}: {key} should be above 0, not {getattr(self, key)}")
        if self.weight_decay < 0:
            raise InputError(f"{where}: weight_decay should be 0 or more, not {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"{where}: warmup is a part of the steps, from 0 to 1, not {self.warmup}")
        if not 0 < self.keep <= 1:
            raise InputError(f"{where}: keep is a part of what is learned, above 0 and at most 1, not {self.keep}")
        if self.batch % self.accumulate:
            raise InputError(f"{where}: a batch of {self.batch} rows cannot be had in {self.accumulate} equal parts")
        if self.frozen and self.lora is not None:
            raise InputError(f"{where}: with lora all but the head is frozen; frozen beside it says nothing")
        if not self.source:
            raise InputError(f"{where} has no [[stage.source]], so nothing to learn from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """window: steps over which a run is judged. patience: windows that a run may know no more than its labels' mean."""

    window: int = 20
    patience: int = 10

    def __post_init__(self) -> None:
        if self.window < 5 or self.patience < 1:
            raise InputError(f"monitor: window should be at least 5 and patience 1, not {self.window}, {self.patience}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All of a run. precision: what is computed in. save_as: how weights are written. log_to: transformers' loggers.

    leak_threshold: how much of its shingles a training query may share with one of a dev set and be trained on.
    """

    base: str
    stage: tuple[Stage, ...]
    dev: tuple[Dev, ...] = ()
    data: str = "."
    seed: int = 0
    precision: str = "float32"
    save_as: str = "float32"
    log_to: tuple[str, ...] = ()
    leak_threshold: float = THRESHOLD
    monitor: Monitoring = Monitoring()

    def __post_init__(self) -> None:
        _among(self.precision, PRECISIONS, "precision")
        _among(self.save_as, SAVED, "save_as")
        for name in self.log_to:
            _among(name, tuple(INTEGRATION_TO_CALLBACK), "log_to: logger")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed should be from 0 to {2**32 - 1}, not {self.seed}")
        names = [stage.name for stage in self.stage]
        if not names:
            raise InputError("a recipe needs at least one [[stage]]")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"stages need names of their own; {twice[0]!r} is there twice")
        names = [dev.name for dev in self.dev]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two dev sets are called {twice[0]!r}; give one of them a name")


HEADERS = {Dev: "[[dev]]", Stage: "[[stage]]", Mixed: "[[stage.source]]"}


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `changes` are "key=value" or "STAGE.key=value", the value as TOML writes it or a bare word.

    InputError names the key that is unknown, with the nearest that is known, or the value that will not do.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; a recipe is a TOML file, see docs/training.md")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _change(content, change)
    return _read(Recipe, content, str(path))


def _change(content: dict[str, Any], change: str) -> None:
    """Apply one "--set"."""
    key, equals, text = change.partition("=")
    if not equals:
        raise InputError(f"--set {change!r}: expected KEY=VALUE or STAGE.KEY=VALUE")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    first, *rest = key.strip().split(".")
    place: Any = content
    if rest:
        listed = content.get("stage")
        stages = {str(s.get("name")): s for s in (listed if isinstance(listed, list) else ()) if isinstance(s, dict)}
        if first in stages:
            place, first, rest = stages[first], rest[0], rest[1:]
        elif first != "monitor":
            raise InputError(f"--set {change!r}: no stage {first!r}{_near(first, [*stages, 'monitor'])}")
    for part in rest:
        place = place.setdefault(first, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {change!r}: {first} has no keys of its own")
        first = part
    place[first] = value


def _read(kind: type, content: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a TOML table, its fields' types checked."""
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}
    for key in content:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{_near(key, known)}")
    needed = [name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING]
    missing = [name for name in needed if name not in content]
    if missing:
        raise InputError(f"{where}: {' and '.join(missing)} missing")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in content.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return _value(arguments[0], value, where)
    if origin is tuple:
        header = HEADERS.get(arguments[0])
        if header and isinstance(value, dict):
            raise InputError(f"{where} should be a list of tables, not one; write {header}, in double brackets")
        if not isinstance(value, list):
            raise InputError(f"{where} should be a list, not {value!r}" + (f"; write {header}" if header else ""))
        return tuple(_value(arguments[0], each, f"{where}[{index}]") for index, each in enumerate(value))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise InputError(f"{where} should be a table, not {value!r}")
        return _read(hint, value, where)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise InputError(f"{where} should be a table, not {value!r}")
        return {key: _value(arguments[1], each, f"{where}: {key}") for key, each in value.items()}
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"{where} should be a finite number, not {value!r}")
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        words = {int: "a whole number", str: "a string", bool: "true or false"}
        raise InputError(f"{where} should be {words[hint]}, not {value!r}")
    return value


def _among(value: str, allowed: Sequence[str], what: str) -> None:
    if value not in allowed:
        raise InputError(f"{what} {value!r} is not known{_near(value, allowed)} (there is {', '.join(allowed)})")


def _near(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
