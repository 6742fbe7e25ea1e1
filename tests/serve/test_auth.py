"""Keys in a file, and rates, without a server."""

from __future__ import annotations

import base64
import os
import time

import pytest

from crossrank.errors import InputError
from crossrank.serve.auth import Keys, Rates
from crossrank.serve.problems import Problem


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_file_of_keys_may_change_under_way(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# for the search team\nold-key\n\n")
    keys = Keys(("fixed",), str(file))
    assert keys.check(bearer("old-key")) != keys.check(bearer("fixed"))
    file.write_text("new-key\n")
    os.utime(file, ns=(1, 1))
    keys.checked = 0.0
    assert keys.check(bearer("new-key"))
    with pytest.raises(Problem) as caught:
        keys.check(bearer("old-key"))
    assert caught.value.status == 401
    assert keys.check(bearer("fixed"))


def test_keys_stay_good_while_their_file_is_gone(tmp_path):
    file = tmp_path / "keys"
    file.write_text("a-key\n")
    keys = Keys((), str(file))
    file.unlink()
    keys.checked = 0.0
    assert keys.check(bearer("a-key"))


def test_an_empty_file_of_keys_lets_nobody_in(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# none yet\n")
    keys = Keys((), str(file))
    with pytest.raises(Problem):
        keys.check(bearer("# none yet"))
    with pytest.raises(Problem):
        keys.check({})


def test_a_comment_or_a_missing_file_is_no_key(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Keys((), str(tmp_path / "nothing"))
    assert Keys(("",)).required, "a key that came out empty does not open the door"


def test_a_key_need_not_be_ascii_and_its_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "keys"
    file.write_bytes("\ufeffclé-première\nseconde\n".encode())
    keys = Keys((), str(file))
    sent = "clé-première".encode().decode("latin-1")  # as a server reads the bytes of a header
    basic = base64.b64encode("me:clé-première".encode()).decode()
    assert (
        keys.check(bearer(sent)) == keys.check({"x-api-key": sent}) == keys.check({"authorization": f"Basic {basic}"})
    )
    assert keys.check(bearer("seconde"))


def test_spaces_round_a_key_are_no_part_of_it_and_what_only_looks_like_one_is():
    assert Keys((" a-key ",)).check(bearer("a-key"))
    sent = "voil\u00e0".encode().decode("latin-1")  # it ends in what Latin-1 has for a no-break space
    for headers in (bearer(sent), {"authorization": sent}, {"x-api-key": sent}):
        assert Keys(("voil\u00e0",)).check(headers)


def test_a_caller_s_name_is_not_its_key():
    name = Keys(("a-secret-key",)).check(bearer("a-secret-key"))
    assert name
    assert "secret" not in name


def test_an_allowance_refills_evenly(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    allowance = Rates(60, 600).of("x")
    for _ in range(60):
        allowance.take()
        allowance.charge(5)
    with pytest.raises(Problem) as caught:
        allowance.take()
    assert caught.value.retry_after == pytest.approx(1)
    now += 1.1
    allowance.take()
    allowance.charge(5000)
    now += 10
    with pytest.raises(Problem, match="tokens a minute"):
        allowance.take()
    now += 600
    allowance.take()
    assert allowance.headers() == {
        "X-RateLimit-Limit-Requests": "60",
        "X-RateLimit-Remaining-Requests": "59",
        "X-RateLimit-Limit-Tokens": "600",
        "X-RateLimit-Remaining-Tokens": "600",
    }


def test_so_many_addresses_are_remembered_and_no_more():
    rates = Rates(5, None)
    for number in range(12_000):
        rates.of(f"10.0.{number // 256}.{number % 256}")
    assert len(rates.callers) == 10_000
