"""Every error that lukewarm raises on purpose. One root; the command maps each class to its exit code.

LukewarmError (1)
  SpecError (3)            the spec file or a value in it is wrong
  SourceError (4)          the source model is missing, incomplete or not what its config says
    UnsafeWeights (4)      pickle weights: refused, never loaded
  UnsupportedError (5)     this task, architecture, precision, backend, target or machine cannot do it
  BundleError (6)          a bundle is missing, damaged or of another version
  AccuracyError (7)        a conversion lost more quality than the spec's budget
  MissingExtra (8)         an optional package is not installed
  StorageError (9)         disk full, read-only, not permitted
  ServerError (10)         a local server did not start or answer
  RequestError (11)        one request is invalid; the process goes on (HTTP 4xx)
    OverloadedError (11)   no room for another request now (HTTP 429/503)
    CancelledError (11)    the caller went away or the deadline passed
  ProviderError (12)       a provider refused: not logged in, no quota, name taken
    NotLoggedIn (12)
  PredictorError (14)      the user's own predictor failed; the process goes on (HTTP 500)
  PriceError (13)          unknown provider, hardware or date in the price catalog; impossible traffic

Exit codes 0 (done), 1 (unexpected), 2 (wrong use of the command) and 130 (interrupted) are the shell's own.
"""

from __future__ import annotations

from collections.abc import Iterable


class LukewarmError(Exception):
    """Root of all errors. `str(error)` says what is wrong, where, what is known and what to type next."""

    exit_code = 1


class SpecError(LukewarmError):
    """The spec file or a value in it is wrong. `where` is `file:line:key`."""

    exit_code = 3

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class SourceError(LukewarmError):
    """The source model is missing, incomplete or not what its config says."""

    exit_code = 4


class UnsafeWeights(SourceError):
    """The source holds pickle weights, which can run code when loaded."""


class UnsupportedError(LukewarmError):
    """This combination cannot work; the message names those that can."""

    exit_code = 5


class BundleError(LukewarmError):
    """A bundle is missing, damaged or written by another version."""

    exit_code = 6


class AccuracyError(LukewarmError):
    """A conversion lost more quality than the budget allows. `measured` holds the figures."""

    exit_code = 7

    def __init__(self, message: str, measured: dict[str, float]) -> None:
        super().__init__(message)
        self.measured = measured


class MissingExtra(LukewarmError):
    """An optional package is not installed."""

    exit_code = 8

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; run: pip install 'lukewarm[{extra}]'")
        self.extra = extra


class StorageError(LukewarmError):
    """Disk full, read-only or not permitted; nothing half-written is left."""

    exit_code = 9


class ServerError(LukewarmError):
    """A local server did not start in time, or died."""

    exit_code = 10


class RequestError(LukewarmError):
    """One request is invalid; the process goes on.

    `code` is a stable identifier, `path` a JSONPath into the request, `allowed` what would be accepted.
    """

    exit_code = 11
    status = 400

    def __init__(self, code: str, message: str, path: str = "$", allowed: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.allowed = allowed


class OverloadedError(RequestError):
    """No room for another request now; retry after `retry_after_s`."""

    status = 429

    def __init__(self, message: str, retry_after_s: float = 1.0, *, status: int = 429) -> None:
        super().__init__("overloaded", message)
        self.retry_after_s = retry_after_s
        self.status = status


class CancelledError(RequestError):
    """The caller went away or the deadline passed before the answer was ready."""

    status = 504

    def __init__(self, message: str = "the request was cancelled") -> None:
        super().__init__("cancelled", message)


class ProviderError(LukewarmError):
    """A provider refused. `reason` is one of: quota, name_taken, not_found, unavailable, rejected."""

    exit_code = 12

    def __init__(self, message: str, reason: str = "rejected") -> None:
        super().__init__(message)
        self.reason = reason


class NotLoggedIn(ProviderError):
    """No usable credentials for a provider; the message says where they are looked for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="not_logged_in")


class PriceError(LukewarmError):
    """Unknown provider, hardware or date in the price catalog, or traffic that cannot be served."""

    exit_code = 13


class PredictorError(LukewarmError):
    """The user's own predictor raised; the message names its exception and line, and the process goes on."""

    exit_code = 14


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the nearest known word, or an empty string."""
    import difflib  # a server starts without it

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> str:
    """The one sentence for an unknown name: what, the nearest, and all that are known."""
    names = sorted(known)
    return f"unknown {kind} {word!r}{did_you_mean(word, names)}; known: {', '.join(names)}"
