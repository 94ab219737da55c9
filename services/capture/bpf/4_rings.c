/* Records into rings: space is taken by compare-and-swap on the ring's head, the payload is copied
 * from the process straight to its place, and the ring's count of written bytes follows. */

enum { REFUSED_FULL = 1, REFUSED_BUSY = 2 };
#define NO_POSITION (~0ULL - 2)

static __always_inline u64 take_room(struct ring *ring, u64 size, u64 need) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u64 head = *(volatile u64 *)&ring->head;
        if (head + need - *(volatile u64 *)&ring->tail > size)
            return NO_POSITION + REFUSED_FULL;
        if (__sync_val_compare_and_swap(&ring->head, head, head + need) == head)
            return head;
    }
    return NO_POSITION + REFUSED_BUSY;
}

struct piece {
    struct connection *of;
    u64 offset;
    u64 boot_ns;
    u64 source;
    u64 bytes;
    u32 direction;
};

static __always_inline int write_record(struct ring *ring, u8 *place, struct piece *piece) {
    struct record *record = (struct record *)place;
    struct connection *of = piece->of;
    u32 direction = piece->direction & 1;
    int unread = bpf_probe_read_user(place + sizeof(struct record), piece->bytes,
                                     (void *)piece->source);
    record->shard = of->shard;
    record->direction = direction;
    record->flags = unread ? FLAG_DISCARDED : 0;
    record->connection = of->id;
    record->offset = piece->offset;
    record->boot_ns = piece->boot_ns;
    __builtin_memcpy(record->lost, of->lost[direction], sizeof(record->lost));
    if (unread)
        __sync_fetch_and_add(&ring->discarded, 1);
    /* Last: a length that is not zero is what a reader takes for a complete record. */
    asm volatile("" ::: "memory");
    record->length = piece->bytes;
    return unread;
}

/* 0, or why it was not written. */
static __always_inline int into_shard(struct shard_ring *to, struct piece *piece) {
    u64 need = sizeof(struct record) + piece->bytes;
    u64 position = take_room(&to->ring, SHARD_RING, need);
    if (position >= NO_POSITION)
        return position - NO_POSITION;
    u64 at = position & (SHARD_RING - 1);
    if (at + need >= SHARD_RING)
        to->ring.wrap = at + need - SHARD_RING;
    int unread = write_record(&to->ring, to->data + at, piece);
    __sync_fetch_and_add(&to->ring.committed, need);
    return unread ? -1 : 0;
}

static __always_inline int into_spare(struct piece *piece) {
    u32 zero = 0;
    struct spare_ring *to = spare_rings.lookup(&zero);
    if (!to)
        return REFUSED_BUSY;
    u64 need = sizeof(struct record) + piece->bytes;
    u64 position = take_room(&to->ring, SPARE_RING, need);
    if (position >= NO_POSITION)
        return position - NO_POSITION;
    u64 at = position & (SPARE_RING - 1);
    if (at + need >= SPARE_RING)
        to->ring.wrap = at + need - SPARE_RING;
    int unread = write_record(&to->ring, to->data + at, piece);
    __sync_fetch_and_add(&to->ring.committed, need);
    return unread ? -1 : 0;
}
