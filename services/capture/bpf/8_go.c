/* Go's crypto/tls: methods of Conn, with arguments and results in Go's own registers.
 *
 * A goroutine changes threads within a call, and the runtime moves its stack: a call is known by the
 * goroutine and by how deep on its stack it is, which neither changes. Nested calls lie deeper; one
 * that panics leaves an entry behind, which a later call at that depth overwrites. */

#if defined(__x86_64__)
#define GO_FIRST(ctx) ((ctx)->ax) /* the receiver; at a RET the result */
#define GO_SECOND(ctx) ((ctx)->bx)
#define GO_THIRD(ctx) ((ctx)->cx)
#define GO_CLOSURE(ctx) ((ctx)->dx)
#define GO_ITSELF(ctx) ((ctx)->r14)
#else
#define GO_FIRST(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define GO_SECOND(ctx) (((struct user_pt_regs *)(ctx))->regs[1])
#define GO_THIRD(ctx) (((struct user_pt_regs *)(ctx))->regs[2])
#define GO_CLOSURE(ctx) (((struct user_pt_regs *)(ctx))->regs[26])
#define GO_ITSELF(ctx) (((struct user_pt_regs *)(ctx))->regs[28])
#endif

#define GO_STACK_HIGH 8 /* in runtime.g */
#define GO_KEEPS_ARGUMENTS (1ULL << 32) /* in a cookie; above it: by which time it was attached */

/* When Close began, by Conn. `of` tells other processes and other probes apart, for calls of which
 * nobody knows when they began. */
struct go_end {
    u64 boot_ns;
    u64 of;
};

BPF_TABLE("lru_hash", struct go_key, struct go_call, go_calls, GO_CALLS);
BPF_TABLE("lru_hash", struct connection_key, struct go_end, go_ends, GO_CALLS);

/* The thread's place for Go's calls, with the goroutine and where its stack begins now. */
static __always_inline struct call *go_place(struct pt_regs *ctx, u32 direction) {
    u64 task = bpf_get_current_pid_tgid();
    struct call *call = call_of(task, OF_GO | direction);
    if (!call) {
        struct shared *all = common();
        if (all)
            __sync_fetch_and_add(&all->calls_refused, 1);
        return 0;
    }
    call->owner.tgid = task >> 32;
    call->go.g = GO_ITSELF(ctx);
    call->go.attached = cookie_of(ctx) >> 33;
    if (bpf_probe_read_user(&call->go.high, sizeof(u64), (void *)(call->go.g + GO_STACK_HIGH)))
        return 0;
    call->go_key.g = call->go.g;
    call->go_key.depth = call->go.high - PT_REGS_SP(ctx);
    call->go_key.process = call->owner.tgid << 1 | direction;
    return call;
}

static __always_inline int go_enter(struct pt_regs *ctx, u32 direction) {
    if (!admits(mark_of(bpf_get_current_pid_tgid() >> 32)))
        return 0;
    struct call *call = go_place(ctx, direction);
    if (!call)
        return 0;
    call->go.conn = GO_FIRST(ctx);
    call->go.buffer = GO_SECOND(ctx);
    call->go.length = GO_THIRD(ctx);
    call->go.boot_ns = bpf_ktime_get_boot_ns();
    if (!go_calls.update(&call->go_key, &call->go))
        return 0;
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->calls_refused, 1);
    return 0;
}

/* What the entry kept; a buffer on the goroutine's stack has moved with it. */
static __always_inline int go_entered(struct call *call) {
    struct go_call *found = go_calls.lookup(&call->go_key);
    if (!found || found->g != call->go.g || found->attached != call->go.attached)
        return 0;
    u64 high = found->high, buffer = found->buffer;
    if (buffer < high && buffer >= high - call->go_key.depth)
        buffer += call->go.high - high;
    call->buffer = buffer;
    call->owner.ssl = found->conn;
    call->go.length = found->length;
    call->boot_ns = found->boot_ns;
    return 1;
}

/* A Read that began before the probes were there: Go's compiler leaves the arguments above the
 * return address, of Read (not of Write) all three. Nothing promises that: discovery has proven it
 * of this very code, or nothing is read there, where else anything of the caller's may lie. */
static __always_inline int go_was_reading(struct pt_regs *ctx, struct call *call) {
    if (!(cookie_of(ctx) & GO_KEEPS_ARGUMENTS))
        return 0;
    if (bpf_probe_read_user(&call->go.conn, 3 * sizeof(u64), (void *)(PT_REGS_SP(ctx) + 8)))
        return 0;
    if (call->go.conn & 7 || !call->go.buffer || (s64)call->go.length < (s64)GO_FIRST(ctx))
        return 0;
    if (bpf_probe_read_user(&call->boot_ns, sizeof(u64), (void *)call->go.conn) || !call->boot_ns)
        return 0;
    call->boot_ns = 0;
    call->buffer = call->go.buffer;
    call->owner.ssl = call->go.conn;
    return 1;
}

static __always_inline u64 go_end_of(u64 attached, u8 mark) {
    return attached << 8 | generation_of(mark);
}

/* A call that was under way as Close began: its connection has ended, and been told to have. A Conn's
 * memory is nobody else's while a call of it runs, so that one that began later may be of another. */
static __always_inline int go_is_late(struct call *call, u8 mark) {
    struct go_end *end = go_ends.lookup(&call->owner);
    if (!end)
        return 0;
    if (call->boot_ns)
        return call->boot_ns <= end->boot_ns;
    return end->of == go_end_of(call->go.attached, mark);
}

static __always_inline void count_late(u64 bytes) {
    struct shared *all = common();
    if (!all)
        return;
    __sync_fetch_and_add(&all->calls_late, 1);
    __sync_fetch_and_add(&all->late_bytes, bytes);
}

/* How many bytes there are says the result alone: some come with an error. */
static __always_inline int go_leave(struct pt_regs *ctx, u32 direction) {
    u8 *mark = mark_of(bpf_get_current_pid_tgid() >> 32);
    if (!mark || !included(*mark))
        return 0;
    struct call *call = go_place(ctx, direction);
    s64 result = GO_FIRST(ctx);
    if (!call) {
        if (result > 0)
            count_unmatched();
        return 0;
    }
    int entered = go_entered(call);
    FORGET(call);
    if (entered)
        go_calls.delete(&call->go_key);
    if (result <= 0)
        return 0;
    if (!entered && (direction == DIRECTION_EGRESS || !go_was_reading(ctx, call))) {
        count_unmatched();
        return 0;
    }
    call->left = result < call->go.length ? result : call->go.length;
    call->length_pointer = 0;
    FORGET(call);
    if (!call->left)
        return 0;
    if (go_is_late(call, *mark)) {
        count_late(call->left);
        return 0;
    }
    hand_over(ctx, call, OF_GO | direction);
    struct call *done = call;
    FORGET(done);
    go_tell_addresses(done);
    return 0;
}

int on_go_read_enter(struct pt_regs *ctx) {
    return go_enter(ctx, DIRECTION_INGRESS);
}

int on_go_write_enter(struct pt_regs *ctx) {
    return go_enter(ctx, DIRECTION_EGRESS);
}

int on_go_read_exit(struct pt_regs *ctx) {
    return go_leave(ctx, DIRECTION_INGRESS);
}

int on_go_write_exit(struct pt_regs *ctx) {
    return go_leave(ctx, DIRECTION_EGRESS);
}

int on_more_go_egress(struct pt_regs *ctx) {
    return deliver_more(ctx, OF_GO | DIRECTION_EGRESS);
}

int on_more_go_ingress(struct pt_regs *ctx) {
    return deliver_more(ctx, OF_GO | DIRECTION_INGRESS);
}

/* A Conn has its handshake before its first byte. There is no constructor to see (it is inlined),
 * and its memory may have been another's that nobody closed. A server's handshake is made once. */
int on_go_new_enter(struct pt_regs *ctx) {
    return born(GO_FIRST(ctx), 0);
}

/* A client's may be asked for again later. Only the first is called as the method value that the
 * Conn keeps: a closure, whose second word is the Conn. */
int on_go_clear_enter(struct pt_regs *ctx) {
    u64 conn = 0;
    bpf_probe_read_user(&conn, sizeof(conn), (void *)(GO_CLOSURE(ctx) + 8));
    return born(conn, 0);
}

/* Before the connection is gone: a call that doesn't find it any more finds this. */
static __always_inline void go_note_end(u64 conn, u32 tgid, u64 of) {
    struct connection_key key = {conn, tgid, 0};
    struct go_end end = {bpf_ktime_get_boot_ns(), of};
    go_ends.update(&key, &end);
}

int on_go_free_enter(struct pt_regs *ctx) {
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    u8 *mark = mark_of(tgid);
    if (!mark || !included(*mark))
        return 0;
    go_note_end(GO_FIRST(ctx), tgid, go_end_of(cookie_of(ctx) >> 33, *mark));
    return freed(GO_FIRST(ctx));
}
