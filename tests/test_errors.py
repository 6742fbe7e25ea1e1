"""The error tree: one table for the library, the server and the command line."""

from __future__ import annotations

import re

import pytest

import crossrank
from crossrank import errors

TREE = re.compile(r"^ +[│ ]*(?:[├└]── )?(\w+) +(\d{3}) +(\d)(?:$| )", re.MULTILINE)


def test_the_tree_as_drawn_is_the_tree_as_raised():
    drawn = {name: (int(status), int(code)) for name, status, code in TREE.findall(errors.__doc__)}
    classes = {name: getattr(errors, name) for name in errors.__all__ if name[0].isupper()}
    assert drawn == {name: (one.status, one.exit_code) for name, one in classes.items()}


def test_every_error_is_a_crossrank_error_and_is_exported():
    for name in errors.__all__:
        if name[0].isupper():
            assert issubclass(getattr(crossrank, name), crossrank.CrossrankError)


def test_what_is_installed_is_not_missed():
    errors.need("json", "torch", extra="serve")


def test_a_missing_package_is_named_with_its_remedy():
    with pytest.raises(errors.MissingExtra, match=r"needs no_such_package: pip install 'crossrank\[serve\]'"):
        errors.need("json", "no_such_package", extra="serve")
