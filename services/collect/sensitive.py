"""Which names hold secrets: one list for headers, query, forms and JSON.

Knows names only, in any case and with their words joined by `-`, `_` or nothing.
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

# Each name has one of these within a word: bytes that hold none of them hold no name.
FRAGMENTS = (
    b"token", b"key", b"auth", b"secret", b"password", b"cookie", b"postman", b"sha256", b"cert",
    b"assertion", b"jwt", b"passphrase", b"passwd", b"pwd", b"signature",
)  # fmt: skip

LISTED = (*KIN, *NAMES)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+")
_CACHED_LENGTH = 64  # names are anybody's: the cache stays small
_NESTING = re.compile(r"[\[\].]+")


def _spellings(name: str) -> set[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    return {joint.join(words) for joint in ("", "-", "_")}


_SENSITIVE = {spelling: name.lower() for name in LISTED for spelling in _spellings(name)}
_SENSITIVE |= {name.lower(): name.lower() for name in LISTED}


def rule(name: str) -> str | None:
    """The listed name that this one is; `user[password]` and `user.password` are `password`."""
    return _cached(name) if len(name) <= _CACHED_LENGTH else _find(name)


def _find(name: str) -> str | None:
    lowered = name.strip().lower()
    found = _SENSITIVE.get(lowered)
    if found is None and _NESTING.search(lowered):
        parts = (_SENSITIVE.get(part) for part in _NESTING.split(lowered))
        found = next((part for part in parts if part is not None), None)
    return found


_cached = lru_cache(maxsize=4096)(_find)
