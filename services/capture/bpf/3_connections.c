/* Connections: identity, offsets, and losses in the connection's own entry. */

static __always_inline u64 mixed(u64 x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

#define REFERENCE 0x100 /* one, above the generation in a birth */
#define MOST_REFERENCES 255

static __always_inline void begin(struct connection *entry, struct connection_key *key, u8 mark) {
    entry->first_boot_ns = bpf_ktime_get_boot_ns();
    u64 id = mixed(mixed(SALT ^ key->ssl) ^ mixed(entry->first_boot_ns) ^ key->tgid);
    entry->id = id;
    entry->shard = (id >> 32) % SHARDS;
    entry->offset[0] = entry->offset[1] = 0;
    __builtin_memset(entry->lost, 0, sizeof(entry->lost));
    entry->announced = 0;
    entry->generation = generation_of(mark);
    u64 *birth = births.lookup(key);
    entry->mid_connection = !birth || (u8)*birth != entry->generation;
    entry->references = entry->mid_connection ? 0 : *birth / REFERENCE;
    entry->state = (mark & VERDICT_MASK) == VERDICT_CANARY ? STATE_CANARY : 0;
    struct name *name = names.lookup(&key->tgid);
    if (name)
        entry->state |= name->class << CLASS_SHIFT;
}

static __always_inline u32 class_of(struct connection *of) {
    return of->state >> CLASS_SHIFT & (CLASSES - 1);
}

/* Whether this connection is one of those that are shed now, or already was. The id is a hash. */
static __always_inline int is_shed(struct connection *of) {
    if (of->state & STATE_SHED)
        return 1;
    struct shared *all = common();
    u32 class = class_of(of);
    if (!all || class >= CLASSES || (of->id & (WHOLE - 1)) + all->withheld[class] < WHOLE)
        return 0;
    of->state |= STATE_SHED;
    __sync_fetch_and_add(&all->connections_shed, 1);
    return 1;
}

/* Complete before it is seen: two threads may meet at a connection's first bytes. */
static __always_inline struct connection *make_connection(struct call *call, u8 *mark) {
    begin(&call->fresh, &call->owner, *mark);
    connections.insert(&call->owner, &call->fresh);
    struct connection *entry = connections.lookup(&call->owner);
    if (!entry || entry->id != call->fresh.id)
        return entry;
    *mark |= MARK_CONNECTED;
    u32 shard = entry->shard;
    struct shard_ring *home = shard_rings.lookup(&shard);
    if (home && !(entry->state & STATE_CANARY))
        __sync_fetch_and_add(&home->ring.connections, 1);
    return entry;
}

/* The generation tells a new process that has an old one's pid and pointer. */
static __always_inline struct connection *find_connection(struct call *call) {
    u8 *mark = mark_of(call->owner.tgid);
    if (!mark)
        return 0;
    struct connection *entry = connections.lookup(&call->owner);
    if (entry && entry->generation == generation_of(*mark))
        return entry;
    if (entry) {
        tell_closed(entry, call->owner.ssl, CLOSED_REUSED);
        connections.delete(&call->owner);
    }
    return make_connection(call, mark);
}

static __always_inline void note_tail(struct connection *of, struct call *call) {
    call->tail.shard = of->shard;
    __builtin_memcpy(call->tail.offset, of->offset, sizeof(of->offset));
    __builtin_memcpy(call->tail.lost, of->lost, sizeof(of->lost));
    if (!tails.update(&of->id, &call->tail))
        return;
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->tails_refused, 1);
}

static __always_inline void lose(struct ring *home, struct connection *of, struct call *call,
                                 u32 direction, u32 reason, u64 bytes) {
    if (reason >= LOST_REASONS)
        return;
    __sync_fetch_and_add(&home->lost[reason], bytes);
    __sync_fetch_and_add(&of->lost[direction & 1][reason], (u32)bytes);
    note_tail(of, call);
}
