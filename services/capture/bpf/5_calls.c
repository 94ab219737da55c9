/* The probes: a call's entry keeps its arguments, its exit copies what was transferred. */

/* A frame this near below another on one TLS object is the same call, nested; it counts once. */
#define NEAR 8192
/* After so many of these the outer call has surely ended without its exit (longjmp). */
#define NESTED_MOST 64

/* A probe's cookie: the target's number, and what its stack pointer is below that at the call's
 * first byte. */
static __always_inline u64 cookie_of(struct pt_regs *ctx) {
#if HAVE_COOKIE
    return bpf_get_attach_cookie(ctx);
#else
    return 0;
#endif
}

/* Without cookies (before Linux 5.15) frames can't be told apart. */
static __always_inline u64 stack_of(struct pt_regs *ctx, u64 cookie) {
    return HAVE_COOKIE ? PT_REGS_SP(ctx) + (s64)(s32)(cookie >> 32) : 0;
}

static __always_inline struct call *call_of(u32 tid, u32 direction) {
    struct call_key key = {tid, direction};
    struct call *call = calls.lookup(&key);
    if (call)
        return call;
    u32 zero = 0;
    struct call *blank = blank_call.lookup(&zero);
    if (blank)
        calls.update(&key, blank);
    return calls.lookup(&key);
}

static __always_inline int enter(struct pt_regs *ctx, u32 direction, u64 length_pointer) {
    u64 task = bpf_get_current_pid_tgid();
    u8 *mark = mark_of(task >> 32);
    if (!mark || !included(*mark))
        return 0;
    struct shared *all = common();
    if (!all)
        return 0;
    struct call *call = call_of(task, direction);
    if (!call) {
        __sync_fetch_and_add(&all->calls_refused, 1);
        return 0;
    }
    u64 ssl = PT_REGS_PARM1(ctx), stack = stack_of(ctx, cookie_of(ctx));
    if (call->active && call->stack != stack) {
        u64 below = call->stack - stack;
        if (call->ssl == ssl && below < NEAR && call->nested++ < NESTED_MOST)
            return 0;
        struct parked_key key = {task, direction, call->stack};
        parked.update(&key, call);
    }
    call->ssl = ssl;
    call->buffer = PT_REGS_PARM2(ctx);
    call->length_pointer = length_pointer;
    call->stack = stack;
    call->nested = 0;
    if (direction == DIRECTION_EGRESS)
        call->boot_ns = bpf_ktime_get_boot_ns();
    call->active = 1;
    return 0;
}

/* The call that ends in this frame, in its thread's place: a parked one is fetched back, because
 * the one that was there goes on in a frame of its own and is parked in turn. */
static __always_inline struct call *ending(u32 tid, u32 direction, u64 stack) {
    struct call_key key = {tid, direction};
    struct call *call = calls.lookup(&key);
    if (!call)
        return 0;
    if (call->active && call->stack == stack)
        return call;
    struct parked_key place = {tid, direction, stack};
    struct call *found = parked.lookup(&place);
    if (!found)
        return 0;
    if (call->active) {
        struct parked_key other = {tid, direction, call->stack};
        parked.update(&other, call);
    }
    *call = *found;
    parked.delete(&place);
    return call;
}

/* Bytes of the call that ended here, or 0. */
static __always_inline u64 transferred(struct pt_regs *ctx, struct call *call) {
    int result = (int)PT_REGS_RC(ctx);
    if (result <= 0)
        return 0;
    if (!call->length_pointer)
        return result;
    u64 length = 0;
    bpf_probe_read_user(&length, sizeof(length), (void *)call->length_pointer);
    return length;
}

static __always_inline u32 reason_of(int refused) {
    if (refused < 0)
        return LOST_UNREADABLE;
    return refused == REFUSED_FULL ? LOST_RING_FULL : LOST_RING_REFUSED;
}

/* The first piece, which nearly always is all. What is left goes by tail call. */
static __always_inline void deliver(struct shared *all, struct piece *piece, u64 bytes) {
    struct connection *of = piece->of;
    u32 shard = of->shard;
    struct shard_ring *home = shard_rings.lookup(&shard);
    if (!home)
        return;
    piece->bytes = bytes;
    int refused = of->announced ? into_shard(home, piece) : REFUSED_BUSY;
    if (refused > 0 && of->announced)
        refused = into_spare(piece);
    if (refused)
        lose(all, &home->ring, of, piece->direction, reason_of(refused), bytes);
    else
        __sync_fetch_and_add(&home->ring.submitted_bytes, bytes);
}

/* The rest of a large transfer, straight into the spare ring, which is the large one. */
static __always_inline int deliver_more(struct pt_regs *ctx, u32 direction) {
    u64 task = bpf_get_current_pid_tgid();
    struct call_key key = {task, direction};
    struct call *call = calls.lookup(&key);
    struct shared *all = common();
    if (!call || !all)
        return 0;
    struct connection_key owner = {call->ssl, task >> 32, 0};
    struct connection *of = connections.lookup(&owner);
    if (!of)
        return 0;
    u32 shard = of->shard;
    struct shard_ring *home = shard_rings.lookup(&shard);
    if (!home)
        return 0;
    struct piece piece = {.of = of, .source = call->buffer, .direction = direction};
    piece.offset = call->offset;
    piece.boot_ns = call->boot_ns;
    u64 left = call->left;
    for (int i = 0; i < PIECES; i++) {
        if (!left)
            break;
        u64 bytes = left;
        if (bytes > PIECE)
            bytes = PIECE;
        piece.bytes = bytes;
        int refused = of->announced ? into_spare(&piece) : REFUSED_BUSY;
        if (refused)
            lose(all, &home->ring, of, direction, reason_of(refused), bytes);
        else
            __sync_fetch_and_add(&home->ring.submitted_bytes, bytes);
        piece.offset += bytes;
        piece.source += bytes;
        left -= bytes;
    }
    call->buffer = piece.source;
    call->offset = piece.offset;
    call->left = left;
    if (left)
        more.call(ctx, direction);
    /* Here nothing is left, or the tail calls of one probe are used up. */
    left = call->left;
    if (left)
        lose(all, &home->ring, of, direction, LOST_RING_FULL, left);
    return 0;
}

int on_more_egress(struct pt_regs *ctx) {
    return deliver_more(ctx, DIRECTION_EGRESS);
}

int on_more_ingress(struct pt_regs *ctx) {
    return deliver_more(ctx, DIRECTION_INGRESS);
}

/* Seen, before anything is submitted. */
static __always_inline u64 count_seen(struct connection *of, u32 direction, u64 bytes) {
    u32 shard = of->shard;
    struct shard_ring *home = shard_rings.lookup(&shard);
    if (!home)
        return 0;
    __sync_fetch_and_add(&home->ring.seen_bytes, bytes);
    __sync_fetch_and_add(&home->ring.seen_records, 1);
    return __sync_fetch_and_add(&of->offset[direction & 1], bytes);
}

/* There is no room for another connection: its bytes are in the totals all the same. */
static __always_inline int not_followed(struct shared *all, u64 bytes) {
    u32 first = 0;
    struct shard_ring *ring = shard_rings.lookup(&first);
    if (ring) {
        __sync_fetch_and_add(&ring->ring.seen_bytes, bytes);
        __sync_fetch_and_add(&ring->ring.lost[LOST_SHED], bytes);
    }
    __sync_fetch_and_add(&all->connections_refused, 1);
    return 0;
}

static __always_inline int leave(struct pt_regs *ctx, u32 direction) {
    u64 task = bpf_get_current_pid_tgid(), cookie = cookie_of(ctx);
    struct call *call = ending(task, direction, stack_of(ctx, cookie));
    if (!call)
        return 0;
    call->active = 0;
    struct shared *all = common();
    u8 *mark = mark_of(task >> 32);
    if (!all || !mark)
        return 0;
    u64 length = transferred(ctx, call);
    if (!length)
        return 0;
    struct connection_key of = {call->ssl, task >> 32, 0};
    struct connection *connection = find_connection(&of, mark);
    if (!connection)
        return not_followed(all, length);
    if (!connection->announced) {
        connection->target = (u32)cookie;
        connection->announced = tell_opened(all, connection, of.ssl, of.tgid);
    }
    struct piece piece = {.of = connection, .source = call->buffer, .direction = direction};
    piece.boot_ns = direction == DIRECTION_EGRESS ? call->boot_ns : bpf_ktime_get_boot_ns();
    piece.offset = count_seen(connection, direction, length);
    u64 bytes = length;
    if (bytes > PIECE)
        bytes = PIECE;
    deliver(all, &piece, bytes);
    if (all->waiting)
        tell(all, CONTROL_BELL, 0);
    if (length > bytes) {
        call->boot_ns = piece.boot_ns;
        call->buffer += bytes;
        call->offset = piece.offset + bytes;
        call->left = length - bytes;
        more.call(ctx, direction);
    }
    return 0;
}

int on_read_enter_returns_length(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_INGRESS, 0);
}

int on_read_enter_length_pointer(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_INGRESS, PT_REGS_PARM4(ctx));
}

int on_write_enter_returns_length(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, 0);
}

int on_write_enter_length_pointer(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, PT_REGS_PARM4(ctx));
}

int on_read_exit(struct pt_regs *ctx) {
    return leave(ctx, DIRECTION_INGRESS);
}

int on_write_exit(struct pt_regs *ctx) {
    return leave(ctx, DIRECTION_EGRESS);
}

/* A TLS object that is born or begins anew under our eyes: what it carries is known from byte 0. */
static __always_inline int born(u64 ssl) {
    u64 task = bpf_get_current_pid_tgid();
    u8 *mark = mark_of(task >> 32);
    if (!ssl || !mark || !included(*mark))
        return 0;
    struct connection_key key = {ssl, task >> 32, 0};
    struct connection *entry = connections.lookup(&key);
    if (entry) {
        tell_closed(entry, ssl, CLOSED_REUSED);
        connections.delete(&key);
    }
    u64 generation = *mark & GENERATION_MASK;
    births.update(&key, &generation);
    return 0;
}

int on_new_exit(struct pt_regs *ctx) {
    return born(PT_REGS_RC(ctx));
}

int on_clear_enter(struct pt_regs *ctx) {
    return born(PT_REGS_PARM1(ctx));
}

int on_free_enter(struct pt_regs *ctx) {
    u64 ssl = PT_REGS_PARM1(ctx);
    struct connection_key key = {ssl, bpf_get_current_pid_tgid() >> 32, 0};
    births.delete(&key);
    struct connection *entry = connections.lookup(&key);
    if (!entry)
        return 0;
    tell_closed(entry, ssl, CLOSED_FREED);
    connections.delete(&key);
    return 0;
}
