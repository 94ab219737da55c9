/* TLS on the wire: whoever hands a socket what begins as a TLS record does, outside of any call
 * that is probed, is told to the reader, who finds out whether it is captured all the same.
 *
 * It costs almost nothing because it looks seldom: a few bytes of a few calls for each process and
 * descriptor, again in every window of a second or so. Most calls end at a look into one array. */

#define WATCHED 32768 /* slots; two descriptors that share one are only looked at more often */
#define RECEIVING 4096
#define LOOKS 32  /* at one descriptor and direction in a window: a number is soon another file's */
#define FOUND 8   /* so many of them is a record */
#define REPORTS 4 /* of one process in a window */
#define WINDOW 8  /* its length: 2^8 ticks of the kernel's clock, 1 s where HZ is 250 */

/* Of a descriptor: looks in this window, by direction. */
struct watched {
    u32 owner;
    u32 window;
    u8 looks[8];
};

/* Of a thread that is in a call that receives: where to look when it returns. */
struct receiving {
    u32 tid;
    u32 fd;
    u64 from;
    u32 kind;
    u32 socket;
};

enum { FROM_BUFFER, FROM_VECTOR, FROM_MESSAGE };

/* Flags that are not told. */
enum { WIRE_TOLD = 31, WIRE_PIECE = 32, WIRE_FOUND = 64 };

/* Of a process: what was told in this window, and whether a TLS object of a probed library was made
 * in it. */
struct wire_process {
    u32 window;
    u32 reports;
    u32 used;
};

BPF_TABLE("array", u32, struct watched, watched, WATCHED);
BPF_TABLE("array", u32, struct receiving, receiving, RECEIVING);
BPF_TABLE("lru_hash", u32, struct wire_process, wire_processes, 8192);
/* Written by the reader: until which window it wants to be told no more of a process. */
BPF_TABLE("lru_hash", u32, u32, wire_quiet, 8192);
BPF_TABLE("array", u32, struct wire_process, blank_wire, 1);
BPF_RINGBUF_OUTPUT(wire_events, WIRE_PAGES);

static __always_inline u32 window_now(void) {
    return bpf_jiffies64() >> WINDOW;
}

/* The process made a TLS object of a probed library: its TLS may be that one's. */
static __always_inline void uses_tls(u32 tgid) {
    struct wire_process *process = wire_processes.lookup(&tgid);
    if (process) {
        process->used = 1;
        return;
    }
    struct wire_process fresh = {.used = 1};
    wire_processes.update(&tgid, &fresh);
}

static __always_inline void forget_wire(u32 tgid) {
    wire_processes.delete(&tgid);
    wire_quiet.delete(&tgid);
}

static __always_inline struct watched *slot_of(u32 fd) {
    u64 task = bpf_get_current_pid_tgid();
    u32 owner = ((u32)(task >> 32) + fd * 0x9e3779b1) * 0x85ebca6b;
    owner ^= owner >> 15;
    u32 index = owner & (WATCHED - 1);
    struct watched *slot = watched.lookup(&index);
    if (!slot)
        return 0;
    u32 window = window_now();
    if (slot->owner != owner || slot->window != window) {
        slot->owner = owner;
        slot->window = window;
        slot->looks[0] = slot->looks[1] = 0;
    }
    return slot;
}

/* The descriptor's slot, if it is to be looked at once more in this direction and window. */
static __always_inline struct watched *to_watch(u32 fd, u32 direction) {
    struct watched *slot = slot_of(fd);
    return slot && slot->looks[direction & 1] < LOOKS ? slot : 0;
}

struct head {
    u8 b[12];
};

/* A ClientHello or a ServerHello, which is proof by itself. */
static __always_inline int is_hello(struct head *h, u32 length) {
    u32 body = (u32)h->b[6] << 16 | (u32)h->b[7] << 8 | h->b[8];
    return h->b[0] == 0x16 && (h->b[5] == 1 || h->b[5] == 2) && body + 4 <= length &&
           h->b[9] == 3 && h->b[10] <= 3;
}

/* 0: it is none. Who sends hands over the head alone or whole records; pieces tell nothing. */
static __always_inline u32 record_flags(struct head *h, u64 size, u32 flags) {
    u32 length = (u32)h->b[3] << 8 | h->b[4];
    if (h->b[0] < 0x14 || h->b[0] > 0x17 || h->b[1] != 3 || h->b[2] > 4 || !length ||
        length > 16384 + 2048)
        return 0;
    if (h->b[0] == 0x14 && length != 1)
        return 0;
    if (size >= 11 && is_hello(h, length))
        return WIRE_HELLO | WIRE_FOUND;
    return flags & WIRE_PIECE || size == 5 || size >= 5 + length ? WIRE_FOUND : 0;
}

/* A long header of QUIC, version 1 or 2, in a datagram of the size that a handshake begins with. */
static __always_inline u32 quic_flags(struct head *h, u64 size) {
    u32 version = (u32)h->b[1] << 24 | (u32)h->b[2] << 16 | (u32)h->b[3] << 8 | h->b[4];
    if (size < 1200 || (h->b[0] & 0xc0) != 0xc0 || h->b[5] > 20)
        return 0;
    return version == 1 || version == 0x6b3343cf ? WIRE_QUIC | WIRE_HELLO | WIRE_FOUND : 0;
}

static __always_inline int in_a_probed_call(u32 tid) {
    struct call_key key = {tid, DIRECTION_EGRESS};
    struct call *call = calls.lookup(&key);
    if (call && is_under_way(call))
        return 1;
    key.direction = DIRECTION_INGRESS;
    call = calls.lookup(&key);
    return call && is_under_way(call);
}

/* Whether the reader is to be told of this process now. */
static __always_inline struct wire_process *to_tell(u32 tgid) {
    u32 window = window_now(), *quiet_until = wire_quiet.lookup(&tgid);
    if (quiet_until && (s32)(*quiet_until - window) > 0)
        return 0;
    struct wire_process *process = wire_processes.lookup(&tgid);
    if (!process) {
        u32 zero = 0;
        struct wire_process *blank = blank_wire.lookup(&zero);
        if (blank)
            wire_processes.update(&tgid, blank);
        process = wire_processes.lookup(&tgid);
    }
    if (!process)
        return 0;
    if (process->window != window) {
        process->window = window;
        process->reports = 0;
    }
    return process->reports++ < REPORTS ? process : 0;
}

static __always_inline void wire_is_refused() {
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->wire_refused, 1);
}

static __always_inline void tell_wire(u32 fd, u32 flags, struct head *h) {
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct wire_process *process = to_tell(tgid);
    if (!process)
        return;
    u8 *mark = mark_of(tgid);
    if (process->used || (mark && *mark & MARK_CONNECTED))
        flags |= WIRE_USED;
    struct wire_event *event = wire_events.ringbuf_reserve(sizeof(struct wire_event));
    if (!event) {
        wire_is_refused();
        return;
    }
    event->tgid = tgid;
    event->fd = fd;
    event->flags = flags;
    event->type = h->b[0];
    event->minor = h->b[2];
    event->unused = 0;
    event->window = window_now();
    struct name *name = names.lookup(&tgid);
    if (name)
        __builtin_memcpy(event->process, name->comm, sizeof(event->process));
    else
        bpf_get_current_comm(event->process, sizeof(event->process));
    wire_events.ringbuf_submit(event, 0);
}

/* Where a vector's first buffer lies, then what it begins with: one place, because the stack is
 * small. */
union scratch {
    struct {
        u64 base;
        u64 size;
    };
    struct head head;
};

/* What a probed call sends is captured: such a descriptor is not looked at again in this window. */
static __always_inline void look(struct watched *slot, u32 fd, union scratch *at, u32 flags) {
    u64 size = at->size, from = at->base;
    u8 *looks = &slot->looks[flags & WIRE_RECEIVED ? DIRECTION_INGRESS : DIRECTION_EGRESS];
    (*looks)++;
    if (size < 5 || bpf_probe_read_user(&at->head, size < 11 ? 5 : 11, (void *)from))
        return;
    u32 found = record_flags(&at->head, size, flags);
    if (!found && flags & WIRE_SOCKET)
        found = quic_flags(&at->head, size);
    if (!found)
        return;
    *looks += FOUND;
    if (in_a_probed_call(bpf_get_current_pid_tgid()))
        slot->looks[0] = slot->looks[1] = LOOKS;
    else
        tell_wire(fd, (flags | found) & WIRE_TOLD, &at->head);
}

static __always_inline int first_piece(union scratch *at, u32 kind) {
    if (kind == FROM_MESSAGE &&
        bpf_probe_read_user(&at->base, sizeof(at->base), (void *)at->base + 16))
        return 0;
    return !bpf_probe_read_user(at, 16, (void *)at->base);
}

#define ARGUMENT(ctx, n) (*(u64 *)((ctx) + SYSCALL_ARGUMENTS + 8 * (n)))

static __always_inline int sending(void *ctx, u32 kind, u32 flags) {
    u32 fd = ARGUMENT(ctx, 0);
    struct watched *slot = to_watch(fd, DIRECTION_EGRESS);
    if (!slot)
        return 0;
    union scratch at = {};
    at.base = ARGUMENT(ctx, 1);
    if (kind == FROM_BUFFER)
        at.size = ARGUMENT(ctx, 2);
    else if (!first_piece(&at, kind))
        return 0;
    look(slot, fd, &at, kind == FROM_BUFFER ? flags : flags | WIRE_PIECE);
    return 0;
}

static __always_inline int receive_begins(void *ctx, u32 kind, u32 socket) {
    u32 fd = ARGUMENT(ctx, 0), tid = bpf_get_current_pid_tgid();
    if (!to_watch(fd, DIRECTION_INGRESS))
        return 0;
    u32 index = tid & (RECEIVING - 1);
    struct receiving *thread = receiving.lookup(&index);
    if (!thread)
        return 0;
    thread->tid = tid;
    thread->fd = fd;
    thread->from = ARGUMENT(ctx, 1);
    thread->kind = kind;
    thread->socket = socket;
    return 0;
}

int on_write(void *ctx) {
    return sending(ctx, FROM_BUFFER, 0);
}

int on_sendto(void *ctx) {
    return sending(ctx, FROM_BUFFER, WIRE_SOCKET);
}

int on_writev(void *ctx) {
    return sending(ctx, FROM_VECTOR, 0);
}

int on_sendmsg(void *ctx) {
    return sending(ctx, FROM_MESSAGE, WIRE_SOCKET);
}

int on_read(void *ctx) {
    return receive_begins(ctx, FROM_BUFFER, 0);
}

int on_recvfrom(void *ctx) {
    return receive_begins(ctx, FROM_BUFFER, WIRE_SOCKET);
}

int on_readv(void *ctx) {
    return receive_begins(ctx, FROM_VECTOR, 0);
}

int on_recvmsg(void *ctx) {
    return receive_begins(ctx, FROM_MESSAGE, WIRE_SOCKET);
}

/* Of all calls that receive. What came in is in the first buffer up to its size. */
int on_received(void *ctx) {
    u32 tid = bpf_get_current_pid_tgid(), index = tid & (RECEIVING - 1);
    struct receiving *thread = receiving.lookup(&index);
    if (!thread || thread->tid != tid)
        return 0;
    thread->tid = 0;
    s64 result = *(s64 *)(ctx + SYSCALL_RESULT);
    if (result < 5)
        return 0;
    union scratch at = {};
    at.base = thread->from;
    if (thread->kind != FROM_BUFFER && !first_piece(&at, thread->kind))
        return 0;
    if (thread->kind == FROM_BUFFER || at.size > result)
        at.size = result;
    struct watched *slot = slot_of(thread->fd);
    if (slot)
        look(slot, thread->fd, &at, WIRE_RECEIVED | WIRE_PIECE | thread->socket);
    return 0;
}
