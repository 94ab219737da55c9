"""A function with all the code that it runs without calling it: its cold parts, the functions that
it ends in by a jump, the places that its switches lead to.

Only what the file proves is joined: code whose extent it tells, and jump tables whose bound is
checked just before the jump. What is left of jumps to elsewhere stays a refusal of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from iced_x86 import (
    Code,
    FlowControl,
    Instruction,
    MemorySizeExt,
    Mnemonic,
    OpKind,
    Register_,
    RegisterExt,
)
from msgspec import Struct, structs

from services.discovery.code.abstraction import immediate
from services.discovery.code.disassembly import Body, Leave, Listing, sweep, writes_memory, written
from services.discovery.code.elf import X86_64

MAX_PIECES: Final = 8
MAX_CASES: Final = 256
_DISTANCE = struct.Struct("<i")
_NEAR: Final = 12  # instructions between a bound and the jump that it is for


class Image(Protocol):
    machine: int

    def around(self, address: int) -> Body | None: ...

    def data(self, address: int, size: int) -> bytes: ...


class _Table(Struct, frozen=True):
    """Of distances, the register that chooses one, and where among the instructions before the jump
    the chosen one is loaded."""

    address: int
    index: Register_
    load: int


def whole(body: Body, image: Image) -> Body:
    if image.machine != X86_64:
        return body
    while (more := _further(body, image)) is not None:
        body = more
    return body


def _further(body: Body, image: Image) -> Body | None:
    """With one piece or the newly proven switches more; None where nothing is to be added."""
    listing = sweep(body)
    live = listing.reachable(body.address) if body.address in listing.steps else set()
    jumps = [ip for ip in live if Leave.INDIRECT in listing.steps[ip].leaves]
    if found := [(ip, to) for ip in sorted(jumps) if (to := _cases(listing, ip, image))]:
        return structs.replace(body, switches=(*body.switches, *found))
    if len(body.parts) + 1 >= MAX_PIECES:
        return None
    for target in sorted(t for ip in live for t in listing.steps[ip].outside):
        part = image.around(target)
        if part is not None and not _overlaps(part, (body, *body.parts)):
            return structs.replace(body, parts=(*body.parts, part))
    return None


def _overlaps(part: Body, pieces: tuple[Body, ...]) -> bool:
    return any(part.address < piece.end and piece.address < part.end for piece in pieces)


def _cases(listing: Listing, ip: int, image: Image) -> tuple[int, ...]:
    """Where the indirect jump at `ip` goes, by its jump table; empty where that isn't proven."""
    before, jump = list(_before(listing, ip)), listing.instructions[ip]
    if jump.op0_kind != OpKind.REGISTER or jump.code != Code.JMP_RM64:
        return ()
    if (found := _table(before, jump.op0_register)) is None:
        return ()
    size = _bound(listing, before[found.load + 1 :], found.index) * _DISTANCE.size
    raw = image.data(found.address, size) if size else b""
    if len(raw) != size:
        return ()
    return tuple(sorted({found.address + far for (far,) in _DISTANCE.iter_unpack(raw)}))


def _before(listing: Listing, ip: int) -> Iterator[Instruction]:
    """What has surely run before the instruction at `ip`, the last first."""
    sources: dict[int, set[int]] = {}
    for at, step in listing.steps.items():
        for target in step.inside:
            sources.setdefault(target, set()).add(at)
    for _ in range(_NEAR):
        came = sources.get(ip, set())
        if len(came) != 1:
            return
        (ip,) = came
        yield listing.instructions[ip]


def _table(before: list[Instruction], jump: Register_) -> _Table | None:
    add = _writer(before, jump)
    if add is None or add.mnemonic != Mnemonic.ADD or add.op1_kind != OpKind.REGISTER:
        return None
    above = before[before.index(add) + 1 :]
    operands = (add.op0_register, add.op1_register)
    for distance, base in (operands, operands[::-1]):
        load, lea = _writer(above, distance), _writer(above, base)
        if load is None or lea is None or load.mnemonic != Mnemonic.MOVSXD:
            continue
        plain = load.op1_kind == OpKind.MEMORY and load.memory_displacement == 0
        scaled = load.memory_index_scale == 4 and load.memory_base == base
        known = lea.mnemonic == Mnemonic.LEA and lea.is_ip_rel_memory_operand
        if plain and scaled and known and above.index(lea) > above.index(load):
            return _Table(lea.ip_rel_memory_address, load.memory_index, before.index(load))
    return None


def _writer(before: list[Instruction], register: Register_) -> Instruction | None:
    """The last instruction that wrote it."""
    full = RegisterExt.full_register(register)
    return next((i for i in before if full in written(i)), None)


def _bound(listing: Listing, before: list[Instruction], index: Register_) -> int:
    """How many cases a comparison just before leaves for the register; 0 where none does."""
    place = next((n for n, i in enumerate(before) if i.mnemonic == Mnemonic.JA), len(before))
    if not 0 < place < len(before) - 1:
        return 0
    branch, compare, since = before[place], before[place + 1], before[:place]
    both = len(set(listing.steps[branch.ip].inside)) == 2
    if compare.mnemonic != Mnemonic.CMP or not both or since[-1].ip != branch.next_ip:
        return 0
    if not immediate(compare) or compare.immediate(1) >= MAX_CASES:
        return 0
    if compare.op0_kind == OpKind.REGISTER:
        proven = _is_compared(since, before[place + 2 :], compare.op0_register, index)
    else:
        proven = _is_loaded_again(since, compare, index)
    return compare.immediate(1) + 1 if proven else 0


def _is_compared(
    since: list[Instruction], until: list[Instruction], compared: Register_, index: Register_
) -> bool:
    """Whether the index is the register that was compared, its upper half zero."""
    full, size = RegisterExt.full_register(compared), RegisterExt.size(compared)
    copy = _writer(since, index)
    if copy is not None:
        plain = copy.mnemonic == Mnemonic.MOV and copy.op1_kind == OpKind.REGISTER
        same = plain and size == 4 and copy.op1_register == compared
        return same and _writer(since[since.index(copy) + 1 :], full) is None
    if full != RegisterExt.full_register(index):
        return False
    made = _writer(until, full)
    narrow = made is not None and made.op_count > 0 and made.op0_kind == OpKind.REGISTER
    zeroed = made is not None and narrow and RegisterExt.size(made.op0_register) == 4
    return size == 8 or (size == 4 and zeroed)


def _is_loaded_again(since: list[Instruction], compare: Instruction, index: Register_) -> bool:
    """Whether the index is loaded from where what was compared still lies."""
    load = _writer(since, index)
    if load is None or load.mnemonic != Mnemonic.MOV or load.op1_kind != OpKind.MEMORY:
        return False
    fields = ("memory_base", "memory_index", "memory_index_scale", "memory_displacement")
    alike = all(getattr(load, field) == getattr(compare, field) for field in fields)
    between = since[since.index(load) + 1 :]
    base = RegisterExt.full_register(compare.memory_base)
    straight = all(i.flow_control == FlowControl.NEXT for i in between)
    kept = straight and not any(writes_memory(i) or base in written(i) for i in between)
    size = MemorySizeExt.size(compare.memory_size)
    narrow = RegisterExt.size(load.op0_register) == size == 4
    return alike and kept and narrow and load.segment_prefix == compare.segment_prefix
