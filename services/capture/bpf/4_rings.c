/* Records into rings: space is taken by compare-and-swap on the ring's head, the payload is copied
 * from the process straight to its place, and the ring's count of written bytes follows. */

enum { REFUSED_FULL = 1, REFUSED_BUSY = 2, REFUSED_NEVER_SEEN = 3, REFUSED_SHED = 4 };

/* Between the steps the piece's position and size lie in the call's entry, not on the stack. */
static __always_inline int take_room(struct ring *ring, struct call *call, u64 size) {
    u64 need = sizeof(struct record) + call->piece;
#pragma nounroll
    for (int i = 0; i < 8; i++) {
        u64 head = *(volatile u64 *)&ring->head;
        if (head + need - *(volatile u64 *)&ring->tail > size)
            return REFUSED_FULL;
        if (__sync_val_compare_and_swap(&ring->head, head, head + need) == head) {
            call->position = head;
            return 0;
        }
    }
    return REFUSED_BUSY;
}

static __always_inline int write_record(struct ring *ring, u8 *place, struct connection *of,
                                        struct call *call, u32 direction) {
    u64 bytes = call->piece;
    if (bytes > PIECE)
        return REFUSED_BUSY; /* never */
    struct record *record = (struct record *)place;
    int unread = bpf_probe_read_user(place + sizeof(struct record), bytes, (void *)call->buffer);
    record->shard = of->shard;
    record->direction = direction;
    record->flags = unread ? FLAG_DISCARDED : 0;
    if (of->state & STATE_CANARY)
        record->flags |= FLAG_DISCARDED | FLAG_CANARY;
    record->connection = of->id;
    record->offset = call->offset;
    record->boot_ns = call->boot_ns;
    __builtin_memcpy(record->lost, of->lost[direction], sizeof(record->lost));
    record->unused = 0;
    if (record->flags)
        __sync_fetch_and_add(&ring->discarded, 1);
    /* Last: a length that is not zero is what a reader takes for a complete record. */
    asm volatile("" ::: "memory");
    record->length = call->piece;
    __sync_fetch_and_add(&ring->committed, sizeof(struct record) + call->piece);
    return unread ? -1 : 0;
}

/* 0, or why it was not written. */
static __always_inline int into_shard(struct shard_ring *to, struct connection *of,
                                      struct call *call, u32 direction) {
    int refused = take_room(&to->ring, call, SHARD_RING);
    if (refused)
        return refused;
    FORGET(to);
    FORGET(call);
    u64 at = call->position & (SHARD_RING - 1);
    u64 end = at + sizeof(struct record) + call->piece;
    if (end >= SHARD_RING)
        to->ring.wrap = end - SHARD_RING;
    return write_record(&to->ring, to->data + at, of, call, direction);
}

/* The spare ring is where everything goes that has no room elsewhere. The nearer it is to its end,
 * the more connections are shed, so that those that are left stay whole. */
static __always_inline int is_crowded(struct spare_ring *ring, struct connection *of) {
    u64 left = SPARE_RING - (*(volatile u64 *)&ring->ring.head - *(volatile u64 *)&ring->ring.tail);
    if (left >= SPARE_RING / 4 || (of->id & (WHOLE - 1)) < left * 4 * WHOLE / SPARE_RING)
        return 0;
    struct shared *all = common();
    if (all && !(of->state & STATE_SHED))
        __sync_fetch_and_add(&all->connections_shed, 1);
    of->state |= STATE_SHED;
    return 1;
}

static __always_inline int into_spare(struct connection *of, struct call *call, u32 direction) {
    u32 zero = 0;
    struct spare_ring *to = spare_rings.lookup(&zero);
    if (!to)
        return REFUSED_BUSY;
    if (is_crowded(to, of))
        return REFUSED_SHED;
    int refused = take_room(&to->ring, call, SPARE_RING);
    if (refused)
        return refused;
    FORGET(to);
    FORGET(call);
    u64 at = call->position & (SPARE_RING - 1);
    u64 end = at + sizeof(struct record) + call->piece;
    if (end >= SPARE_RING)
        to->ring.wrap = end - SPARE_RING;
    return write_record(&to->ring, to->data + at, of, call, direction);
}
