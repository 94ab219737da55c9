"""Hostile files: whatever is in them, they are refused or read, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.discovery.code import calls, elf, joining, sites
from services.discovery.code.disassembly import Body, Listing, sweep
from services.discovery.code.elf import X86_64, MalformedElf
from services.discovery.code.image import FileImage
from services.discovery.code.placing import emulated_exit, entry, returns
from tests.support.elf_file import Library
from tests.support.functions import RecordedImage, load

_IMAGE = load("openssl-3.0-debian")
_NAMES = (
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_free",
    "SSL_new",
)
_BODIES = {name: body.code for name in _NAMES if (body := _IMAGE.named(name)) is not None}
_GNUTLS = {body.name: body.code for body in load("gnutls-3.7-debian").bodies()}
CONTENT = Library(_BODIES).content()
CONTENTS = (CONTENT, Library(_GNUTLS, soname="libgnutls.so.30").content())
_MOST = 8 << 20  # bytes that one look at a file of some kilobytes may read

changes = st.lists(
    st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=8)), max_size=8
)


@given(st.sampled_from(CONTENTS), changes, st.integers(0, len(CONTENT)))
def test_a_mutated_file_is_refused_or_read(
    whole: bytes, edits: list[tuple[int, bytes]], cut: int
) -> None:
    content = bytearray(whole)
    for at, replacement in edits:
        content[at : at + len(replacement)] = replacement
    file = bytes(content[:cut] if cut % 3 == 0 else content)
    taken = 0

    def read(offset: int, size: int) -> bytes:
        nonlocal taken
        found = file[offset : offset + size]
        taken += len(found)
        return found

    try:
        parsed = elf.parse(read)
        elf.build_id(parsed)
        elf.dynamic(parsed)
        for site in sites.choose(FileImage(parsed, calls.NAMES)).sites:
            assert site.offset >= 0
    except MalformedElf:
        pass
    assert taken < _MOST


@given(st.binary(max_size=512))
def test_any_bytes_have_a_place_or_a_reason(code: bytes) -> None:
    listing = Listing(Body("f", 0x1000, code))
    place = entry(listing, 4, lambda _: None)
    assert place.emulated != bool(place.reason)
    leaving = emulated_exit(listing)
    if not isinstance(leaving, str):
        assert listing.emulated(listing.instructions[leaving.address])


@given(st.sampled_from(_NAMES), changes)
def test_a_mutated_function_never_has_a_site_outside_it(
    name: str, edits: list[tuple[int, bytes]]
) -> None:
    code = bytearray(_BODIES[name])
    for at, replacement in edits:
        start = at % len(code)
        code[start : start + len(replacement)] = replacement
    body = Body(name, 0x1000, bytes(code))
    listing = Listing(body)
    for place in (entry(listing, 4, lambda _: None), emulated_exit(listing)):
        assert isinstance(place, str) or body.address <= place.address < body.end


@given(st.lists(st.binary(min_size=1, max_size=96), min_size=1, max_size=6), changes)
def test_whatever_is_joined_is_finite_and_known_code(
    pieces: list[bytes], edits: list[tuple[int, bytes]]
) -> None:
    """Pieces of code that jump to one another as they like."""
    at, bodies = 0x1000, list[Body]()
    for code in pieces:
        jump = b"\xe9" + (edits[0][0] % 256 if edits else 5).to_bytes(4, "little")
        bodies.append(Body(hex(at), at, code + jump))
        at = bodies[-1].end
    first, *others = bodies
    whole = joining.whole(first, RecordedImage(X86_64, {first.name: first}, others))
    assert len(whole.parts) < joining.MAX_PIECES
    assert set(whole.parts) <= set(others)
    found = returns(sweep(whole))
    known = [range(piece.address, piece.end) for piece in (first, *whole.parts)]
    assert isinstance(found, str) or all(any(ip in part for part in known) for ip in found)
