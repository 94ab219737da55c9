"""The RETs of an arm64 function, by a scan of its words: the kernel simulates a probed RET.

Every instruction is one word, so the scan misses none; data among the code could look like one,
so a function that has any is refused, as is one that can be left otherwise than by a RET.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

from services.discovery.code.disassembly import Body

_WORD = 4


class _Form(Struct, frozen=True):
    mask: int
    value: int

    def fits(self, word: int) -> bool:
        return word & self.mask == self.value


_RET = _Form(0xFFFFFC1F, 0xD65F0000)
_RET_SIGNED = _Form(0xFFFFFBFF, 0xD65F0BFF)  # retaa, retab: the kernel refuses to probe them
_INDIRECT = _Form(0xFEFFF000, 0xD61F0000)  # br, and its signed kin
_JUMP = _Form(0xFC000000, 0x14000000)
# Conditional jumps, and what reads data near the code: form, lowest bit and width of the distance.
_CONDITIONAL = (
    (_Form(0xFF000000, 0x54000000), 5, 19),  # b.cond, bc.cond
    (_Form(0x7E000000, 0x34000000), 5, 19),  # cbz, cbnz
    (_Form(0x7E000000, 0x36000000), 5, 14),  # tbz, tbnz
)
_LITERAL = _Form(0x3B000000, 0x18000000)
_ADDRESS = _Form(0x9F000000, 0x10000000)  # adr


def returns(body: Body) -> tuple[int, ...] | str:
    """The addresses of all RETs, or why these are not all ways out."""
    found = []
    for address, word in _words(body):
        if refusal := _refusal(body, address, word):
            return refusal
        if _RET.fits(word):
            found.append(address)
    return tuple(found) or "it never returns"


def _words(body: Body) -> Iterator[tuple[int, int]]:
    whole = body.code[: len(body.code) // _WORD * _WORD]
    for number, (word,) in enumerate(struct.iter_unpack("<I", whole)):
        yield body.address + _WORD * number, word


def _refusal(body: Body, address: int, word: int) -> str:
    inside: Callable[[int], bool] = lambda target: body.address <= target < body.end  # noqa: E731
    if _RET_SIGNED.fits(word):
        return "it leaves by a signed return"
    if _INDIRECT.fits(word):
        return "it leaves by an indirect jump"
    if _JUMP.fits(word) and not inside(address + _WORD * _signed(word, 0, 26)):
        return "it leaves by a jump to another function"
    for form, lowest, width in _CONDITIONAL:
        if form.fits(word) and not inside(address + _WORD * _signed(word, lowest, width)):
            return "it leaves by a jump to another function"
    if _LITERAL.fits(word) and inside(address + _WORD * _signed(word, 5, 19)):
        return "it has data among its code"
    if _ADDRESS.fits(word) and inside(address + (_signed(word, 5, 19) << 2 | word >> 29 & 3)):
        return "it has data among its code"
    return ""


def _signed(word: int, lowest: int, width: int) -> int:
    number = word >> lowest & (1 << width) - 1
    return number - (1 << width) if number >> width - 1 else number
