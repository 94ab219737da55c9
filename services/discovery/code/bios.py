"""Where libcrypto writes into memory: the functions behind BIO_s_mem and BIO_s_bio. Pure.

Ciphertext that a program sends by itself goes there first; what goes to a socket at once doesn't,
and so needn't pay for a probe. Both functions are in the tables that these calls return: {type,
name, write, write of older kind …}. Where the first kind is a converter it is the same in both.
"""

from __future__ import annotations

from iced_x86 import FlowControl, Mnemonic, Register

from services.discovery.code.calls import MEMORY
from services.discovery.code.disassembly import Body, sweep
from services.discovery.code.elf import X86_64
from services.discovery.code.sharing import Image

_WRITE, _OLDER_WRITE = 16, 24  # bytes into a table


def writers(image: Image) -> list[tuple[str, Body]]:
    """Each with what people are told; none where any of this can't be read."""
    tables = [_returned(image.named(kind)) for kind in MEMORY]
    if image.machine != X86_64 or None in tables:
        return []
    wanted = {table + slot for table in tables if table for slot in (_WRITE, _OLDER_WRITE)}
    pointers = image.pointers(frozenset(wanted))
    first = {pointers.get((table or 0) + _WRITE) for table in tables}
    slot = _OLDER_WRITE if len(first) == 1 else _WRITE
    found = []
    for kind, table in zip(MEMORY, tables, strict=True):
        target = pointers.get((table or 0) + slot)
        body = image.begins_at(target) if target is not None else None
        if body is None:
            return []
        found.append((f"{kind} -> write", body))
    return found


def _returned(body: Body | None) -> int | None:
    """The address that a function returns which does nothing else."""
    listing = sweep(body) if body is not None else None
    i = listing.instructions.get(listing.body.address) if listing else None
    if listing is None or i is None:
        return None
    if i.mnemonic == Mnemonic.ENDBR64:
        i = listing.instructions.get(i.next_ip)
    if i is None or i.mnemonic != Mnemonic.LEA or i.op0_register != Register.RAX:
        return None
    then = listing.instructions.get(i.next_ip)
    returns = then is not None and then.flow_control == FlowControl.RETURN
    return i.ip_rel_memory_address if returns and i.is_ip_rel_memory_operand else None
