"""The Huffman code of HPACK (RFC 7541, Appendix B), decoded byte by byte.

The code is canonical, so that its lengths are all there is to know. Steps of the automaton (node,
byte) are computed when they are first met, and whole strings are remembered.
"""

from __future__ import annotations

# fmt: off
_LENGTHS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)
# fmt: on
_END = 256
_MAX_REMEMBERED = 4096
_MAX_KEY = 256


def _codes() -> dict[tuple[int, int], int]:
    """(length, code) -> symbol; shorter codes first, then by symbol."""
    codes, code, previous = {}, 0, 0
    for symbol in sorted(range(_END + 1), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - previous
        previous = _LENGTHS[symbol]
        codes[previous, code] = symbol
        code += 1
    return codes


_Node = tuple[int, int]  # bits of an unfinished code: how many, and which
_ROOT: _Node = (0, 0)
_SYMBOLS: dict[_Node, int] = {}


class _State:
    """What each next byte gives in this node, and where it leads, as far as bytes were met."""

    __slots__ = ("node", "steps")

    def __init__(self, node: _Node) -> None:
        self.node = node
        self.steps: list[tuple[_State, bytes] | None] = [None] * 256


_STATES: dict[_Node, _State] = {_ROOT: _State(_ROOT)}
_REMEMBERED: dict[bytes, bytes] = {}


def decode(data: bytes) -> bytes | None:
    """None where the bytes are no such code: an end symbol inside, or padding that is not its
    first bits (RFC 7541 §5.2)."""
    known = _REMEMBERED.get(data)
    if known is not None:
        return known
    text = _decode(data)
    if text is not None and len(data) <= _MAX_KEY:
        if len(_REMEMBERED) >= _MAX_REMEMBERED:
            _REMEMBERED.clear()
        _REMEMBERED[data] = text
    return text


def _decode(data: bytes) -> bytes | None:
    state, parts = _STATES[_ROOT], []
    for byte in data:
        step = state.steps[byte]
        if step is None:
            step = _step(state, byte)
            if step is None:
                return None
        state, symbols = step
        parts.append(symbols)
    bits, code = state.node
    return b"".join(parts) if bits < 8 and code == (1 << bits) - 1 else None


def _step(state: _State, byte: int) -> tuple[_State, bytes] | None:
    if not _SYMBOLS:
        _SYMBOLS.update(_codes())
    symbols = bytearray()
    bits, code = state.node
    for shift in range(7, -1, -1):
        bits, code = bits + 1, code << 1 | (byte >> shift & 1)
        symbol = _SYMBOLS.get((bits, code))
        if symbol == _END:
            return None
        if symbol is not None:
            symbols.append(symbol)
            bits, code = _ROOT
    following = _STATES.setdefault((bits, code), _State((bits, code)))
    found = state.steps[byte] = following, bytes(symbols)
    return found
