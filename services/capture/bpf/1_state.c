/* The maps, and what every program asks first. Constants come in as -D: SHARDS, SHARD_RING,
 * SPARE_RING (bytes, powers of two), CONTROL_PAGES, PIDS, NAMES, CONNECTIONS, CALLS, GO_CALLS, TAILS,
 * RETIRED, PIECES, SALT, DEFAULT_VERDICT, HAVE_COOKIE.
 * The files of this folder are one object, joined in the order of their names. */
#include <uapi/linux/ptrace.h>

#include "shared.h"

/* The state of one call between its entry and its exit: one a thread and direction, updated in
 * place, never per CPU, because these programs are preemptible. `stack` is the stack pointer at the
 * call's first byte, which an exit proves to be its own by. */
struct call_key {
    u32 tid;
    u32 direction; /* and OF_GO */
};

struct go_key {
    u64 g;
    u32 depth;
    u32 process; /* and the direction, its lowest bit */
};

/* A goroutine's call between its entry and its exit, which threads and stacks may change within. */
struct go_call {
    u64 g;
    u64 conn;
    u64 buffer;
    u64 length;
    u64 boot_ns;
    u64 high;     /* where its stack began at the entry */
    u64 attached; /* by which time that probes were attached: a call whose end nobody saw is no more */
    u64 is_new;   /* its connection has just been told, and its addresses have not */
};

struct call {
    struct connection_key owner;
    u64 buffer;
    u64 length_pointer; /* 0: the result is the length; or one of those below */
    u64 boot_ns;
    u64 stack;
    u64 offset;
    u64 left;
    u64 piece; /* bytes of the record to be written, and where in the ring */
    u64 position;
    u32 active;
    u32 nested;
    u32 watched; /* its socket is not proven yet: what the thread does within it may do so */
    u32 counted; /* among those that are watched */
    u32 number;  /* of the target at whose probe it began: each time that it is attached another */
    u32 unused;
    /* Entries to be made, which would else have to lie on the stack. */
    struct connection fresh;
    struct tail tail;
    struct go_key go_key;
    struct go_call go;
};

/* The result is a length of 64 bits, and the bytes never were in the process's memory. */
#define SENT_BY_KERNEL 1
/* The result is the length, and the bytes are nowhere that the caller named. */
#define NO_BUFFER 2
/* What it sends was handed over, and counted, before. */
#define COUNTED_BEFORE 3

/* Go's calls have a place of their own in each thread: one may be made within a call into a C
 * library. What identifies them between entry and exit stands in 8_go.c. */
#define OF_GO 2

/* A call that another one, in another frame, would overwrite: fibers that switch inside a call.
 * It begins as a call's key does. */
struct parked_key {
    u32 tid;
    u32 direction;
    u64 stack;
};

/* Of a process: its name, and the class of workloads that this puts it into. */
struct comm {
    char comm[16];
};

struct name {
    char comm[16];
    u64 class;
};

struct shard_ring {
    struct ring ring;
    u8 data[SHARD_RING + RECORD_ROOM + 4096 - RECORD_ROOM % 4096];
};

struct spare_ring {
    struct ring ring;
    u8 data[SPARE_RING + RECORD_ROOM + 4096 - RECORD_ROOM % 4096];
};

struct marks {
    u8 of[PIDS];
};

BPF_F_TABLE("array", u32, struct shard_ring, shard_rings, SHARDS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct spare_ring, spare_rings, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct shared, shared, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct marks, marks, 1, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(control, CONTROL_PAGES);
BPF_RINGBUF_OUTPUT(control_spare, CONTROL_PAGES);
BPF_TABLE("hash", struct call_key, struct call, calls, CALLS);
BPF_TABLE("lru_hash", struct parked_key, struct call, parked, 4096);
/* Numbers of targets whose probes were taken off: calls that began there never end to us. */
BPF_TABLE("lru_hash", u32, u32, retired, RETIRED);
BPF_TABLE("hash", struct connection_key, struct connection, connections, CONNECTIONS);
/* TLS objects whose birth was seen: the generation of their process, and references above it. */
BPF_TABLE("hash", struct connection_key, u64, births, CONNECTIONS);
BPF_TABLE("hash", u64, struct tail, tails, TAILS);
BPF_TABLE("hash", u32, struct name, names, NAMES);
BPF_TABLE("hash", struct comm, u64, classes, CLASSES);
BPF_PROG_ARRAY(more, 4);
/* Zeroes to start an entry from, which would else have to lie on the stack. */
BPF_TABLE("array", u32, struct call, blank_call, 1);

/* What was computed from a pointer is computed again, not kept: the stack is small (64 bytes and
 * more would be a stack of their own since Linux 6.13, one a CPU, which preemption then breaks). */
#define FORGET(pointer) asm volatile("" : "+r"(pointer))

static __always_inline struct shared *common(void) {
    u32 zero = 0;
    return shared.lookup(&zero);
}

static __always_inline u8 *mark_of(u32 tgid) {
    u32 zero = 0;
    struct marks *all = marks.lookup(&zero);
    if (!all)
        return 0;
    u64 index = tgid;
    index &= PIDS - 1;
    return all->of + index;
}

static __always_inline u8 generation_of(u8 mark) {
    return mark & GENERATION_MASK;
}

static __always_inline int included(u8 mark) {
    u8 verdict = mark & VERDICT_MASK;
    if (!verdict)
        verdict = DEFAULT_VERDICT;
    return verdict == VERDICT_INCLUDE || verdict == VERDICT_CANARY;
}

/* Whether this call is to be captured: most are not, where a library is probed that all use. Calls
 * are counted and not bytes: of what is turned away no state is kept that an exit could read. */
static __always_inline int admits(u8 *mark) {
    if (!mark)
        return 0;
    if (included(*mark))
        return 1;
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->calls_filtered, 1);
    return 0;
}

/* Whether the thread is in this call, as far as probes are there to see its end. */
static __always_inline int is_under_way(struct call *call) {
    return call->active && !retired.lookup(&call->number);
}

static __always_inline void count_unmatched() {
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->calls_unmatched, 1);
}

static __always_inline void keep_name(u32 tgid, struct name *name) {
    if (!names.update(&tgid, name))
        return;
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->names_refused, 1);
}
