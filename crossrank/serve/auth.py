"""Who is let in, and how much each may ask. Keys come from the options and from a file that can change under way."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossrank.errors import InputError
from crossrank.serve.problems import Problem

__all__ = ["Allowance", "Keys", "Rates"]

FILE_SECONDS = 1.0
MINUTE = 60.0
# Addresses remembered where there are no keys: more than that, and the one that was quiet longest starts afresh.
ADDRESSES = 10_000

log = logging.getLogger("crossrank.serve")


class Keys:
    """The keys that open this server; none at all means that everyone may come in.

    file: one key a line; blank lines and lines that begin with # are skipped. It is read again within a second of a
    change; while it cannot be read, the keys it last held stay good.
    """

    def __init__(self, keys: tuple[str, ...] = (), file: str | None = None) -> None:
        self.given = [_digest(key.strip().encode("utf-8", "surrogateescape")) for key in keys]
        self.file = Path(file) if file else None
        self.filed: list[bytes] = []
        self.stamp: tuple[int, int] | None = None
        self.checked = 0.0
        if self.file:
            if not self.file.is_file():
                raise InputError(f"--api-key-file {file}: there is no such file")
            self._read()

    @property
    def required(self) -> bool:
        """Whether a key is needed. A file, even an empty one, means that it is."""
        return bool(self.given or self.file)

    def check(self, headers: Mapping[str, str]) -> str | None:
        """Who this is, as a short name that is not the key; None where no key is needed. Raises Problem.

        Read are `Authorization: Bearer KEY`, `Authorization: KEY`, `X-API-Key: KEY`, and HTTP Basic with the key as its
        password, which is what a browser asks its user for.
        """
        if not self.required:
            return None
        self._refresh()
        candidates = list(_candidates(headers))
        if not candidates:
            raise Problem("missing_key", "this server needs a key: send the header Authorization: Bearer KEY")
        for candidate in candidates:
            digest = _digest(candidate)
            # Every key is compared, in constant time, so that the time taken tells nothing.
            if sum(hmac.compare_digest(digest, known) for known in [*self.given, *self.filed]):
                return digest.hex()[:12]
        raise Problem("wrong_key", "this key is not known here")

    def _refresh(self) -> None:
        now = time.monotonic()
        if self.file and now - self.checked >= FILE_SECONDS:
            self.checked = now
            self._read()

    def _read(self) -> None:
        assert self.file is not None
        try:
            stat = self.file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self.stamp:
                return
            lines = self.file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the key file cannot be read: %s", error, extra={"event": "keys_unreadable"})
            return
        keys = [line.strip() for line in lines]
        self.filed = [_digest(key.encode()) for key in keys if key and not key.startswith("#")]
        self.stamp = stamp
        log.info("keys read", extra={"event": "keys_read", "count": len(self.filed)})


class Bucket:
    """Up to `limit` units, refilled evenly over a minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = float(limit)
        self.at = time.monotonic()

    def refill(self) -> None:
        """Add what has come back since the last time."""
        now = time.monotonic()
        self.left = min(self.limit, self.left + (now - self.at) / MINUTE * self.limit)
        self.at = now

    def until(self, units: float) -> float:
        """Seconds until so many units are there."""
        return (units - self.left) * MINUTE / self.limit


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one caller may still ask; None is no limit.

    Tokens are charged once they are counted: the request that passes the limit is the last.
    """

    requests: Bucket | None
    tokens: Bucket | None

    def take(self) -> None:
        """One request; a Problem with Retry-After where nothing is left."""
        for bucket in (self.requests, self.tokens):
            if bucket:
                bucket.refill()
        if self.requests and self.requests.left < 1:
            limit, wait = self.requests.limit, self.requests.until(1)
            raise Problem("requests", f"more than {limit} requests a minute", retry_after=wait)
        if self.tokens and self.tokens.left <= 0:
            limit, wait = self.tokens.limit, self.tokens.until(1)
            raise Problem("tokens", f"more than {limit} tokens a minute", retry_after=wait)
        if self.requests:
            self.requests.left -= 1

    def charge(self, tokens: int) -> None:
        """Take the tokens of a request off."""
        if self.tokens:
            self.tokens.left -= tokens

    def headers(self) -> dict[str, str]:
        """The headers that tell the caller."""
        told = {}
        for name, bucket in (("Requests", self.requests), ("Tokens", self.tokens)):
            if bucket:
                told[f"X-RateLimit-Limit-{name}"] = str(bucket.limit)
                told[f"X-RateLimit-Remaining-{name}"] = str(max(0, int(bucket.left)))
        return told


class Rates:
    """Each caller's allowance, by key or by address."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self.requests = requests_per_minute
        self.tokens = tokens_per_minute
        self.callers: OrderedDict[str, Allowance] = OrderedDict()

    def of(self, caller: str) -> Allowance:
        """This caller's; a full one where it has not been seen."""
        if caller not in self.callers:
            self.callers[caller] = Allowance(
                requests=Bucket(self.requests) if self.requests else None,
                tokens=Bucket(self.tokens) if self.tokens else None,
            )
            while len(self.callers) > ADDRESSES:
                self.callers.popitem(last=False)
        self.callers.move_to_end(caller)
        return self.callers[caller]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _candidates(headers: Mapping[str, str]) -> list[bytes]:
    """The keys that a request offers, as the bytes that were sent: a header is text in Latin-1 only by name."""
    found = []
    # Spaces and tabs are what HTTP lets stand round a value; read as Latin-1, a key in UTF-8 may end like a space.
    value = headers.get("authorization", "").strip(" \t")
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "basic" and rest:
        try:
            found.append(base64.b64decode(rest, validate=True).partition(b":")[2])
        except (binascii.Error, ValueError):
            pass
    elif value:
        found.append((rest.strip(" \t") if scheme.lower() == "bearer" else value).encode("latin-1"))
    found.append(headers.get("x-api-key", "").strip(" \t").encode("latin-1"))
    return [key for key in found if key]
