"""`crossrank serve`: a flag, and an environment variable, for every field of ServeOptions."""

from __future__ import annotations

import inspect
import os
import types
import typing
from typing import Annotated, Any

import typer

from crossrank.errors import InputError
from crossrank.serve.options import ServeOptions, described

__all__ = ["command"]


def command(**given: Any) -> None:
    """Answer rerank requests over HTTP: Jina, Cohere, TEI and others on one port, a playground at /.

    Each option can also be set by its environment variable; several values are then separated by spaces. SIGTERM
    drains: /ready falls, what is in flight finishes, and the exit code is 0.
    """
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    _refuse_blank("api_key", chosen)
    _refuse_blank("api_key_file", chosen)
    options = ServeOptions(**chosen)
    from crossrank.serve.server import serve

    serve(options)


def _refuse_blank(name: str, chosen: dict[str, Any]) -> None:
    """Refuse a variable that is set to nothing: click takes it for one that is not set, which here opens the server."""
    variable = f"CROSSRANK_{name.upper()}"
    if not chosen.get(name) and variable in os.environ and not os.environ[variable].strip():
        raise InputError(f"{variable} is set, but empty; unset it to let everyone in")


def _signature() -> inspect.Signature:
    """A parameter for each field, None where it was not given, so that the dataclass alone holds the defaults."""
    parameters = []
    for field, kind in described():
        flag = "--" + field.name.replace("_", "-")
        switch = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        shown = "" if field.default in (None, (), "") else f" Default: {_word(field.default)}."
        option = typer.Option(
            switch,
            envvar=f"CROSSRANK_{field.name.upper()}",
            help=field.metadata["help"] + shown,
            show_default=False,
            metavar=None if kind is bool else "...",
        )
        parameters.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[_plain(kind), option]
            )
        )
    return inspect.Signature(parameters, return_annotation=None)


def _plain(kind: Any) -> Any:
    """The type of a flag: optional, and a list where several may be given."""
    if typing.get_origin(kind) is tuple:
        return list[str] | None
    if isinstance(kind, types.UnionType):
        return kind
    return kind | None


def _word(default: object) -> str:
    return {True: "on", False: "off"}.get(default, str(default)) if isinstance(default, bool) else str(default)


command.__signature__ = _signature()  # type: ignore[attr-defined]
command.__annotations__ = {name: p.annotation for name, p in command.__signature__.parameters.items()}  # type: ignore[attr-defined]
