"""Where NATS is: which URLs are accepted, how they are told without their secrets, what is shown to
the server, and why it refuses.

Knows nothing of connections.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import nats.errors

from services.settings import SharedSettings


class BusError(Exception):
    """One line: what is wrong with the bus and what mends it."""


def check_url(settings: SharedSettings) -> list[str]:
    """The servers; a cluster's are separated by commas. Raises BusError where credentials or
    captured bytes would cross a network in the clear."""
    urls = [url.strip() for url in settings.nats_url.split(",")]
    for url in urls:
        _check_one(url, settings)
    return urls


def _check_one(url: str, settings: SharedSettings) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise BusError(
            f"PLAINWIRE_NATS_URL is no NATS URL: {without_secrets(url)}; "
            "it looks like nats://host:4222"
        )
    encrypted = parts.scheme in ("tls", "wss")
    if not (encrypted or _is_loopback(parts.hostname) or settings.nats_allow_plaintext):
        raise BusError(
            f"{without_secrets(url)} is neither loopback nor TLS; use tls://, "
            "or set PLAINWIRE_NATS_ALLOW_PLAINTEXT=true"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_secrets(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found:
        return scheme.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def token(settings: SharedSettings) -> str | None:
    if not settings.nats_token_file:
        return None
    try:
        return Path(settings.nats_token_file).read_text().strip()
    except OSError as error:
        raise BusError(f"token file {settings.nats_token_file}: {error.strerror}") from None


def reason(error: nats.errors.Error) -> str:
    if "authorization" in str(error).lower():
        return "the server refuses these credentials; check PLAINWIRE_NATS_TOKEN_FILE"
    return f"can't connect: {type(error).__name__}"
