"""A small library with OpenSSL's calls in it, as code that was compiled."""

from __future__ import annotations

from tests.support.elf_file import Library
from tests.support.functions import load

_IMAGE = load("openssl-3.0-node")
BODIES = {
    name: body.code
    for name in ("SSL_read", "SSL_write", "SSL_new", "SSL_clear", "SSL_free")
    if (body := _IMAGE.named(name)) is not None
}
CONTENT = Library(BODIES).content()
