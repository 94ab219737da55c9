"""Which names hold secrets: one list for headers, query, forms and JSON.

Knows names only, in any case and with their words joined by `-`, `_` or nothing; and the words that
make others of these.
"""

from __future__ import annotations

import re
from functools import lru_cache

# The 40 names that people's redaction lists agree on; `accessToken` also stands for access_token.
NAMES = (
    "accessToken", "api-key", "api_key", "auth", "auth-key", "authKey", "clientSecret",
    "clientToken", "consumerSecret", "encryption_key", "password", "postman_sid", "primarySecret",
    "proxy-authorization", "secondarySecret", "secretKey", "sessionToken", "set-cookie",
    "sso_jwt_key", "token", "tokenSecret", "x-access-token", "x-amz-security-token", "x-api-key",
    "x-auth-token", "x-csrf-token", "x-support-secret", "x-portkey-api-key",
    "x-portkey-virtual-key", "authorization", "cookie", "grpc-authorization",
    "proxy-authenticate", "www-authenticate", "x-amz-content-sha256", "x-api-secret",
    "x-forwarded-client-cert", "x-forwarded-authorization", "x-internal-token", "x-shared-secret",
)  # fmt: skip

# Kin of these that real programs send: vendors' headers, OAuth, log-in forms, signed URLs.
KIN = (
    "api_token", "authentication", "authentication-info", "authToken", "bearerToken",
    "clientAssertion", "confirmPassword", "cookie2", "csrfToken", "currentPassword",
    "dd-api-key", "deploy-token", "id_token", "job-token", "jwt", "newPassword",
    "ocp-apim-subscription-key", "oldPassword", "passphrase", "passwd", "password_confirmation",
    "private-token", "privateKey", "proxy-authentication-info", "pwd", "refreshToken", "secret",
    "set-cookie2", "signature", "userPassword", "x-amz-signature", "x-api-token",
    "x-authorization", "x-forwarded-access-token", "x-functions-key", "x-gitlab-token",
    "x-goog-api-key", "x-goog-signature", "x-password", "x-secret", "x-session-token",
    "x-vault-token", "x-xsrf-token",
)  # fmt: skip

# Names that programs make of these, however they join the words: db_password, smtpPassword2.
_ANYWHERE = ("password", "passwd", "passphrase")
_ENDINGS = (
    "secret", "token", "api-key", "access-key", "secret-key", "private-key", "auth-key",
    "signing-key", "encryption-key", "credential", "credentials", "signature", "session-id",
    "sessid", "passcode", "card-number", "security-code",
)  # fmt: skip
_LAST_WORDS = frozenset({"pwd", "pin", "cvv", "cvc", "otp", "jwt", "sig", "ssn", "pass"})
# What ends so and tells nobody anything: pages of lists, CORS.
_HARMLESS = (
    "pagetoken", "nexttoken", "continuationtoken", "synctoken", "canceltoken",
    "cancellationtoken", "allowcredentials", "withcredentials", "includecredentials",
)  # fmt: skip

# Of language models, budgets and the like: a number under `max_tokens` tells how many.
_COUNTED = tuple(
    f"{word}tokens"
    for word in (
        "max", "min", "prompt", "completion", "total", "input", "output", "cached", "read",
        "creation", "reasoning", "thinking", "budget", "used", "remaining", "limit", "num", "new",
        "audio", "text", "image", "prediction",
    )
)  # fmt: skip

# Each name has one of these within a word: bytes that hold none of them hold no name.
FRAGMENTS = (
    b"token", b"key", b"auth", b"secret", b"pass", b"cookie", b"postman", b"sha256", b"cert",
    b"assertion", b"signature", b"credential", b"sess", b"card", b"securit",
)  # fmt: skip
# Or ends a word with one of these, which many other words hold.
SHORT = tuple(sorted(word.encode() for word in _LAST_WORDS))

LISTED = (*KIN, *NAMES)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+")
_LETTERS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_IN_NAMES = re.compile(r"[^a-z]+")
_SQUASHED = {ending.replace("-", ""): ending for ending in _ENDINGS}
_SQUASHED_ENDINGS = tuple(_SQUASHED)
_CACHED_LENGTH = 64  # names are anybody's: the cache stays small
_NUMBER = re.compile(r"\s*-?[0-9]{1,12}(?:\.[0-9]*)?\s*")
_NESTING = re.compile(r"[\[\].]+")


def _spellings(name: str) -> set[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    return {joint.join(words) for joint in ("", "-", "_")}


_SENSITIVE = {spelling: name.lower() for name in LISTED for spelling in _spellings(name)}
_SENSITIVE |= {name.lower(): name.lower() for name in LISTED}


def rule(name: str, value: str = "") -> str | None:
    """The listed name that this one is; `user[password]` and `user.password` are `password`. None
    where `value` is but a number of tokens."""
    found = _cached(name) if len(name) <= _CACHED_LENGTH else _find(name)
    if found is None or not value or not _NUMBER.fullmatch(value):
        return found
    return None if _NOT_IN_NAMES.sub("", name.lower()).endswith(_COUNTED) else found


def _listed(name: str) -> str | None:
    """Also where there are several of it."""
    lowered = name.lower()
    return _SENSITIVE.get(lowered) or _SENSITIVE.get(lowered.removesuffix("s"))


def _find(name: str) -> str | None:
    stripped = name.strip()
    found = _listed(stripped)
    if found is not None:
        return found
    parts = [part for part in _NESTING.split(stripped) if part]
    listed = (_listed(part) for part in parts)
    made = (_made(part) for part in parts)
    return next((rule for rule in (*listed, *made) if rule is not None), None)


def _made(name: str) -> str | None:
    """The words of a secret within it: at its end, some anywhere. Digits count for nothing."""
    squashed = _NOT_IN_NAMES.sub("", name.lower())
    for known in _ANYWHERE:
        if known in squashed:
            return known
    singular = squashed.removesuffix("s")
    if squashed.endswith(_HARMLESS) or singular.endswith(_HARMLESS):
        return None
    for ending in _SQUASHED_ENDINGS:
        if squashed.endswith(ending) or singular.endswith(ending):
            return _SQUASHED[ending]
    words = _LETTERS.findall(name)
    last = words[-1].lower() if words else ""
    return last if last in _LAST_WORDS else None


_cached = lru_cache(maxsize=4096)(_find)
