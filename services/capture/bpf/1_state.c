/* The maps, and what every program asks first. Constants come in as -D: SHARDS, SHARD_RING,
 * SPARE_RING (bytes, powers of two), CONTROL_PAGES, PIDS, NAMES, CONNECTIONS, CALLS, TAILS, PIECES, SALT,
 * DEFAULT_VERDICT, HAVE_COOKIE.
 * The files of this folder are one object, joined in the order of their names. */
#include <uapi/linux/ptrace.h>

#include "shared.h"

/* The state of one call between its entry and its exit: one a thread and direction, updated in
 * place, never per CPU, because these programs are preemptible. `stack` is the stack pointer at the
 * call's first byte, which an exit proves to be its own by. */
struct call_key {
    u32 tid;
    u32 direction;
};

struct call {
    u64 ssl;
    u64 buffer;
    u64 length_pointer;
    u64 boot_ns;
    u64 stack;
    u64 offset;
    u64 left;
    u32 active;
    u32 nested;
};

/* A call that another one, in another frame, would overwrite: fibers that switch inside a call. */
struct parked_key {
    u32 tid;
    u32 direction;
    u64 stack;
};

struct name {
    char comm[16];
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
BPF_TABLE("hash", struct connection_key, struct connection, connections, CONNECTIONS);
/* TLS objects whose birth was seen and that carried nothing yet: the generation of their process. */
BPF_TABLE("lru_hash", struct connection_key, u64, births, CONNECTIONS);
BPF_TABLE("hash", u64, struct tail, tails, TAILS);
BPF_TABLE("lru_hash", u32, struct name, names, NAMES);
BPF_PROG_ARRAY(more, 2);
/* Zeroes to start an entry from, which would else have to lie on the stack. */
BPF_TABLE("array", u32, struct call, blank_call, 1);
BPF_TABLE("array", u32, struct connection, blank_connection, 1);
BPF_TABLE("array", u32, struct tail, blank_tail, 1);

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

static __always_inline int included(u8 mark) {
    u8 verdict = mark & VERDICT_MASK;
    return (verdict ? verdict : DEFAULT_VERDICT) == VERDICT_INCLUDE;
}
