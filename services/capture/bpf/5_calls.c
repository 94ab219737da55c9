/* The probes: a call's entry keeps its arguments, its exit copies what was transferred. */

/* A frame this near below another on one TLS object is the same call, nested; it counts once. */
#define NEAR 8192
/* After so many of these the outer call has surely ended without its exit (longjmp). */
#define NESTED_MOST 64
#define CORKED_MOST 65536

/* At an entry: where the pointer to the length is. */
#define FOURTH_ARGUMENT 4
#define FIFTH_ARGUMENT 5

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

/* A call within this one counts by itself no more. That bound is for an outer call that ended without
 * its exit; what was corked is sent by as many calls as it takes. */
static __always_inline int is_nested(struct call *outer, u64 ssl, u64 stack) {
    u32 most = outer->length_pointer == COUNTED_BEFORE ? CORKED_MOST : NESTED_MOST;
    return outer->owner.ssl == ssl && outer->stack - stack < NEAR && outer->nested++ < most;
}

/* `length` is a length pointer's value, or which argument it is. */
static __always_inline int enter(struct pt_regs *ctx, u32 direction, u64 length) {
    u64 task = bpf_get_current_pid_tgid();
    u8 *mark = mark_of(task >> 32);
    if (!admits(mark))
        return 0;
    struct call *call = call_of(task, direction);
    if (!call) {
        struct shared *all = common();
        if (all)
            __sync_fetch_and_add(&all->calls_refused, 1);
        return 0;
    }
    u64 stack = stack_of(ctx, cookie_of(ctx));
    if (call->active && call->stack != stack) {
        if (call->number == (u32)cookie_of(ctx) && is_nested(call, PT_REGS_PARM1(ctx), stack))
            return 0;
        struct parked_key key = {task, direction, call->stack};
        parked.update(&key, call);
        call->counted = 0; /* the parked one is, if it was */
    }
    FORGET(ctx);
    call->owner.ssl = PT_REGS_PARM1(ctx);
    call->owner.tgid = task >> 32;
    call->buffer = PT_REGS_PARM2(ctx);
    call->length_pointer = length;
    if (length == FOURTH_ARGUMENT)
        call->length_pointer = PT_REGS_PARM4(ctx);
    if (length == FIFTH_ARGUMENT)
        call->length_pointer = PT_REGS_PARM5(ctx);
    call->stack = stack;
    call->number = cookie_of(ctx);
    call->nested = 0;
    if (direction == DIRECTION_EGRESS)
        call->boot_ns = bpf_ktime_get_boot_ns();
    struct ends *found = ends_of(&call->owner, *mark);
    watch(call, !found || !found->proven);
    struct hints *hinted = all_hints();
    if (hinted && !*hint_of(hinted, task >> 32))
        *hint_of(hinted, task >> 32) = HINT_CALLS;
    call->active = 1;
    return 0;
}

/* The call that ends in this frame, in its thread's place: a parked one is fetched back, because
 * the one that was there goes on in a frame of its own and is parked in turn. What began at probes
 * that were taken off since may be another call in the same frame: of its buffer nothing is read. */
static __always_inline struct call *ending(u32 tid, u32 direction, u64 stack, u32 number) {
    struct parked_key place = {tid, direction, stack};
    struct call *call = calls.lookup((struct call_key *)&place);
    if (!call) {
        u8 *mark = mark_of(bpf_get_current_pid_tgid() >> 32);
        if (mark && included(*mark))
            count_unmatched();
        return 0;
    }
    if (call->active && call->stack == stack && call->number == number)
        return call;
    struct call *found = parked.lookup(&place);
    if (!found || found->number != number) {
        if (!call->active || !call->nested || call->number != number)
            count_unmatched();
        return 0;
    }
    if (call->active) {
        place.stack = call->stack;
        parked.update(&place, call);
    }
    *call = *found;
    place.stack = call->stack;
    parked.delete(&place);
    return call;
}

/* Bytes of the call that ended here, or 0. */
static __always_inline u64 transferred(struct pt_regs *ctx, struct call *call) {
    s64 result = PT_REGS_RC(ctx);
    if (call->length_pointer == SENT_BY_KERNEL)
        return result > 0 ? result : 0;
    if ((int)result <= 0 || call->length_pointer == COUNTED_BEFORE)
        return 0;
    if (!call->length_pointer || call->length_pointer == NO_BUFFER)
        return (int)result;
    u64 length = 0;
    bpf_probe_read_user(&length, sizeof(length), (void *)call->length_pointer);
    return length;
}

static __always_inline u32 reason_of(int refused) {
    if (refused == REFUSED_NEVER_SEEN)
        return LOST_SENT_BY_KERNEL;
    if (refused == REFUSED_SHED)
        return LOST_SHED;
    if (refused < 0)
        return LOST_UNREADABLE;
    return refused == REFUSED_FULL ? LOST_RING_FULL : LOST_RING_REFUSED;
}

static __always_inline void submitted(struct ring *home, struct connection *of, u64 bytes) {
    __sync_fetch_and_add(&home->submitted_bytes, bytes);
    u32 class = class_of(of);
    struct shared *all = class ? common() : 0;
    if (all && class < CLASSES)
        __sync_fetch_and_add(&all->taken[class], bytes);
}

/* A piece has its record, or is lost; what is left of the call begins behind it. */
static __always_inline void delivered(struct connection *of, struct call *call, u32 direction,
                                      int refused) {
    struct shard_ring *home = shard_rings.lookup(&of->shard);
    if (!home)
        return;
    FORGET(call);
    if (refused)
        lose(&home->ring, of, call, direction, reason_of(refused), call->piece);
    else
        submitted(&home->ring, of, call->piece);
    FORGET(call);
    call->buffer += call->piece;
    call->offset += call->piece;
    call->left -= call->piece;
}

static __always_inline void begin_piece(struct call *call) {
    call->piece = call->left < PIECE ? call->left : PIECE;
}

/* The rest of a large transfer, straight into the spare ring, which is the large one. `place` is
 * the call's in its thread: a direction, and OF_GO. */
static __always_inline int deliver_more(struct pt_regs *ctx, u32 place) {
    u32 direction = place & 1;
    struct call_key key = {bpf_get_current_pid_tgid(), place};
    struct call *call = calls.lookup(&key);
    if (!call)
        return 0;
    struct connection *of = connections.lookup(&call->owner);
    if (!of)
        return 0;
    for (int i = 0; i < PIECES; i++) {
        FORGET(call);
        FORGET(of);
        if (!call->left)
            break;
        begin_piece(call);
        int refused = of->announced ? into_spare(of, call, direction) : REFUSED_BUSY;
        delivered(of, call, direction, refused);
    }
    if (call->left)
        more.call(ctx, place);
    /* Here nothing is left, or the tail calls of one probe are used up: more than any ring holds. */
    call->piece = call->left;
    if (call->left)
        delivered(of, call, direction, REFUSED_FULL);
    if (place & OF_GO)
        go_tell_addresses(call);
    return 0;
}

int on_more_egress(struct pt_regs *ctx) {
    return deliver_more(ctx, DIRECTION_EGRESS);
}

int on_more_ingress(struct pt_regs *ctx) {
    return deliver_more(ctx, DIRECTION_INGRESS);
}

/* There is no room for another connection: its bytes are in the totals all the same. */
static __always_inline int not_followed(u64 bytes) {
    u32 first = 0;
    struct shard_ring *ring = shard_rings.lookup(&first);
    if (ring) {
        __sync_fetch_and_add(&ring->ring.seen_bytes, bytes);
        __sync_fetch_and_add(&ring->ring.lost[LOST_SHED], bytes);
    }
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->connections_refused, 1);
    return 0;
}

/* One that is shed is told only so that the reader can count it, and forget it at its end. */
static __always_inline void announce(struct pt_regs *ctx, struct connection *of,
                                     struct call *call) {
    of->target = (u32)cookie_of(ctx);
    of->announced = tell_opened(of, call->owner.ssl, call->owner.tgid);
    if (of->announced && of->state & STATE_SHED)
        of->state |= STATE_TOLD;
    FORGET(of);
    FORGET(call);
    struct ends *found = ends.lookup(&call->owner);
    if (found && found->generation == of->generation)
        tell_ends(of, found);
}

static __always_inline void ring_bell() {
    struct shared *all = common();
    if (all && all->waiting)
        tell(CONTROL_BELL, 0);
}

/* The first piece, which nearly always is all. What is left goes by tail call. */
static __always_inline void deliver(struct shard_ring *home, struct connection *of,
                                    struct call *call, u32 direction) {
    int refused = REFUSED_BUSY;
    begin_piece(call);
    if (call->length_pointer == SENT_BY_KERNEL) {
        call->piece = call->left;
        refused = REFUSED_NEVER_SEEN;
    } else if (call->length_pointer == NO_BUFFER) {
        call->piece = call->left;
        refused = -1;
    } else if (of->announced) {
        refused = into_shard(home, of, call, direction);
        FORGET(of);
        FORGET(call);
        if (refused > 0)
            refused = into_spare(of, call, direction);
    }
    delivered(of, call, direction, refused);
}

/* Nothing of it leaves the kernel any more: to whoever reads, the connection ends here. */
static __always_inline void shed(struct shard_ring *home, struct connection *of,
                                 struct call *call, u32 direction) {
    __sync_fetch_and_add(&home->ring.lost[LOST_SHED], call->left);
    __sync_fetch_and_add(&of->lost[direction & 1][LOST_SHED], (u32)call->left);
    if (!(of->state & STATE_TOLD) && tell_closed(of, call->owner.ssl, CLOSED_SHED))
        of->state |= STATE_TOLD;
}

/* What the reader must see of itself: a record that is in no sum. */
static __always_inline void sing(struct shard_ring *home, struct connection *of,
                                 struct call *call, u32 direction) {
    begin_piece(call);
    into_shard(home, of, call, direction);
    call->left = 0;
}

/* What the call has left is its connection's. Seen is counted before anything is submitted. */
static __always_inline int hand_over(struct pt_regs *ctx, struct call *call, u32 place) {
    u32 direction = place & 1;
    struct connection *of = find_connection(call);
    if (!of)
        return not_followed(call->left);
    struct shard_ring *home = shard_rings.lookup(&of->shard);
    if (!home)
        return 0;
    if (of->state & STATE_CANARY) {
        sing(home, of, call, direction);
        return 0;
    }
    is_shed(of);
    if (!of->announced) {
        announce(ctx, of, call);
        call->go.is_new = place & OF_GO;
    }
    if (direction == DIRECTION_INGRESS)
        call->boot_ns = bpf_ktime_get_boot_ns();
    FORGET(call);
    FORGET(home);
    FORGET(of);
    __sync_fetch_and_add(&home->ring.seen_bytes, call->left);
    __sync_fetch_and_add(&home->ring.seen_records, 1);
    call->offset = __sync_fetch_and_add(&of->offset[direction & 1], call->left);
    if (of->state & STATE_SHED) {
        shed(home, of, call, direction);
        return 0;
    }
    deliver(home, of, call, direction);
    ring_bell();
    if (call->left)
        more.call(ctx, place);
    return 0;
}

static __always_inline int leave(struct pt_regs *ctx, u32 direction) {
    u64 cookie = cookie_of(ctx);
    struct call *call = ending(bpf_get_current_pid_tgid(), direction, stack_of(ctx, cookie), cookie);
    if (!call)
        return 0;
    call->active = 0;
    watch(call, 0);
    call->left = transferred(ctx, call);
    FORGET(call);
    if (!call->left)
        return 0;
    return hand_over(ctx, call, direction);
}

int on_read_enter_returns_length(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_INGRESS, 0);
}

int on_read_enter_length_pointer(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_INGRESS, FOURTH_ARGUMENT);
}

int on_write_enter_returns_length(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, 0);
}

int on_write_enter_length_pointer(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, FOURTH_ARGUMENT);
}

/* SSL_write_ex2 and, since OpenSSL 3.3, the internal function: flags come before the pointer. */
int on_write_enter_length_pointer_fifth(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, FIFTH_ARGUMENT);
}

int on_write_enter_sent_by_kernel(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, SENT_BY_KERNEL);
}

/* gnutls_record_recv_packet: the bytes stay in the library's own memory. */
int on_read_enter_no_buffer(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_INGRESS, NO_BUFFER);
}

/* gnutls_record_uncork: its bytes were counted as they were handed over. */
int on_write_enter_counted_before(struct pt_regs *ctx) {
    return enter(ctx, DIRECTION_EGRESS, COUNTED_BEFORE);
}

int on_read_exit(struct pt_regs *ctx) {
    return leave(ctx, DIRECTION_INGRESS);
}

int on_write_exit(struct pt_regs *ctx) {
    return leave(ctx, DIRECTION_EGRESS);
}

/* A TLS object that is born or begins anew under our eyes: what it carries is known from byte 0. */
static __always_inline int born(u64 ssl, int anew) {
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    u8 *mark = mark_of(tgid);
    if (!ssl || !mark || !included(*mark))
        return 0;
    uses_tls(tgid);
    struct connection_key key = {ssl, tgid, 0};
    u64 birth = generation_of(*mark);
    u64 *before = births.lookup(&key);
    if (anew && before && (u8)*before == (u8)birth)
        birth = *before;
    if (anew)
        unprove(&key);
    else
        ends.delete(&key);
    struct connection *entry = connections.lookup(&key);
    if (entry) {
        if (anew)
            birth = generation_of(*mark) | (u64)entry->references * REFERENCE;
        tell_closed(entry, ssl, CLOSED_REUSED);
        connections.delete(&key);
    }
    if (!births.update(&key, &birth))
        return 0;
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->births_refused, 1);
    return 0;
}

int on_new_exit(struct pt_regs *ctx) {
    return born(PT_REGS_RC(ctx), 0);
}

/* SSL_new clears what it makes, too: the object's second birth in that call is the first's equal. */
int on_clear_enter(struct pt_regs *ctx) {
    return born(PT_REGS_PARM1(ctx), 1);
}

/* A TLS object with several owners ends with the last. */
static __always_inline int shared_again(u64 ssl, int open) {
    struct connection_key key = {ssl, bpf_get_current_pid_tgid() >> 32, 0};
    struct connection *entry = connections.lookup(&key);
    if (open && !entry)
        return 0;
    if (entry && entry->references < MOST_REFERENCES)
        __sync_fetch_and_add(&entry->references, 1);
    u64 *birth = births.lookup(&key);
    if (birth && *birth < MOST_REFERENCES * REFERENCE)
        __sync_fetch_and_add(birth, REFERENCE);
    return 0;
}

int on_share_enter(struct pt_regs *ctx) {
    return shared_again(PT_REGS_PARM1(ctx), 0);
}

/* SSL_dup gives an object that has shaken hands one owner more, without a call that tells so. Any
 * other it copies into a new one. */
int on_duplicate_enter(struct pt_regs *ctx) {
    return shared_again(PT_REGS_PARM1(ctx), 1);
}

static __always_inline int freed(u64 ssl) {
    struct connection_key key = {ssl, bpf_get_current_pid_tgid() >> 32, 0};
    u64 *birth = births.lookup(&key);
    u64 others = birth ? *birth / REFERENCE : 0;
    if (others)
        __sync_fetch_and_add(birth, -REFERENCE);
    else
        births.delete(&key);
    if (!others)
        ends.delete(&key);
    struct connection *entry = connections.lookup(&key);
    if (!entry)
        return 0;
    if (entry->references) {
        __sync_fetch_and_add(&entry->references, -1);
        return 0;
    }
    tell_closed(entry, ssl, CLOSED_FREED);
    connections.delete(&key);
    return 0;
}

int on_free_enter(struct pt_regs *ctx) {
    return freed(PT_REGS_PARM1(ctx));
}
