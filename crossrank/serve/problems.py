"""What a request can be refused for. A kind decides the status, the code that clients read, and the error type.

    kind          status  code                               when
    json          400     VALIDATION_JSON                    the body is not JSON, or not an object
    validation    422     VALIDATION_ERROR                   a field cannot be read or scored
    empty         422     VALIDATION_EMPTY                   no documents
    too_long      422     VALIDATION_TOO_LONG                truncation was forbidden and the text does not fit
    model         400     INPUT_MODEL_NOT_FOUND              no model of this name is served
    missing_key   401     AUTH_MISSING_API_KEY               a key is needed
    wrong_key     401     AUTH_INVALID_API_KEY               this key is not one
    path          404     RESOURCE_NOT_FOUND                 no such path
    method        405     METHOD_NOT_ALLOWED                 the path is there, the method is not
    slow_body     408     REQUEST_TIMEOUT                    the body did not arrive in time
    encoding      415     UNSUPPORTED_MEDIA_TYPE             the body is compressed
    large_body    413     PAYLOAD_TOO_LARGE                  more bytes than the limit
    documents     413     TOO_MANY_DOCUMENTS                 more documents than the limit
    too_much      413     PAYLOAD_TOO_LARGE                  a text or a request longer than can be scored here
    requests      429     RATE_REQUEST_LIMIT_EXCEEDED        too many requests in this minute
    tokens        429     RATE_TOKEN_LIMIT_EXCEEDED          too many tokens in this minute
    overloaded    429     RATE_CONCURRENCY_LIMIT_EXCEEDED    no room in the queue, or none in time
    internal      500     INTERNAL_ERROR                     a fault of ours; the log has it
    compute       500     MODEL_ERROR                        the model failed on this input alone
    loading       503     SERVICE_UNAVAILABLE                the model is not loaded yet
    worker        503     SERVICE_UNAVAILABLE                the model's worker has died
    deadline      504     SERVICE_TIMEOUT                    the deadline passed before the answer was there

A dialect may give a kind another status (its `STATUS` table).
"""

from __future__ import annotations

from crossrank.errors import CrossrankError

__all__ = ["KINDS", "Problem", "field_problem"]

KINDS = {
    "json": (400, "VALIDATION_JSON"),
    "validation": (422, "VALIDATION_ERROR"),
    "empty": (422, "VALIDATION_EMPTY"),
    "too_long": (422, "VALIDATION_TOO_LONG"),
    "model": (400, "INPUT_MODEL_NOT_FOUND"),
    "missing_key": (401, "AUTH_MISSING_API_KEY"),
    "wrong_key": (401, "AUTH_INVALID_API_KEY"),
    "path": (404, "RESOURCE_NOT_FOUND"),
    "method": (405, "METHOD_NOT_ALLOWED"),
    "slow_body": (408, "REQUEST_TIMEOUT"),
    "encoding": (415, "UNSUPPORTED_MEDIA_TYPE"),
    "large_body": (413, "PAYLOAD_TOO_LARGE"),
    "documents": (413, "TOO_MANY_DOCUMENTS"),
    "too_much": (413, "PAYLOAD_TOO_LARGE"),
    "requests": (429, "RATE_REQUEST_LIMIT_EXCEEDED"),
    "tokens": (429, "RATE_TOKEN_LIMIT_EXCEEDED"),
    "overloaded": (429, "RATE_CONCURRENCY_LIMIT_EXCEEDED"),
    "internal": (500, "INTERNAL_ERROR"),
    "compute": (500, "MODEL_ERROR"),
    "loading": (503, "SERVICE_UNAVAILABLE"),
    "worker": (503, "SERVICE_UNAVAILABLE"),
    "deadline": (504, "SERVICE_TIMEOUT"),
}

# An echo of what was sent helps; a whole document in an error body does not.
ECHO_CHARACTERS = 200


class Problem(CrossrankError):
    """A request that gets an honest error. kind: a key of KINDS. retry_after: seconds, where waiting would help.

    errors: for validation, one {"field", "message", "type", "input"} each.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retry_after: float | None = None,
        errors: tuple[dict[str, object], ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status, self.code = KINDS[kind]
        self.retry_after = retry_after
        self.errors = errors


def field_problem(field: str, message: str, value: object, *, kind: str = "validation") -> Problem:
    """A Problem with one field of the body."""
    error = {"field": field, "message": message, "type": kind, "input": _echo(value)}
    return Problem(kind, f"{field}: {message}", errors=(error,))


def _echo(value: object) -> object:
    if value is None or isinstance(value, (bool, float)):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else "a very large number"
    if isinstance(value, str):
        return value if len(value) <= ECHO_CHARACTERS else value[:ECHO_CHARACTERS] + "…"
    return type(value).__name__
