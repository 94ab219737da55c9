/* Connections: identity, offsets, and losses in the connection's own entry. */

static __always_inline u64 mixed(u64 x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* New for both uses: an entry just made, and one whose TLS object begins another connection. */
static __always_inline void begin(struct connection *entry, struct connection_key *key, u8 mark) {
    entry->first_boot_ns = bpf_ktime_get_boot_ns();
    u64 id = mixed(mixed(SALT ^ key->ssl) ^ mixed(entry->first_boot_ns) ^ key->tgid);
    entry->id = id;
    entry->shard = (id >> 32) % SHARDS;
    entry->offset[0] = entry->offset[1] = 0;
    __builtin_memset(entry->lost, 0, sizeof(entry->lost));
    entry->announced = 0;
    entry->generation = mark & GENERATION_MASK;
    u64 *birth = births.lookup(key);
    entry->mid_connection = !birth || *birth != entry->generation;
}

static __always_inline struct connection *make_connection(struct connection_key *key, u8 *mark) {
    u32 zero = 0;
    struct connection *blank = blank_connection.lookup(&zero);
    if (!blank)
        return 0;
    connections.update(key, blank);
    struct connection *entry = connections.lookup(key);
    if (!entry)
        return 0;
    *mark |= MARK_CONNECTED;
    begin(entry, key, *mark);
    u32 shard = entry->shard;
    struct shard_ring *home = shard_rings.lookup(&shard);
    if (home)
        __sync_fetch_and_add(&home->ring.connections, 1);
    return entry;
}

/* The generation tells a new process that has an old one's pid and pointer. */
static __always_inline struct connection *find_connection(struct connection_key *key, u8 *mark) {
    struct connection *entry = connections.lookup(key);
    if (!entry)
        return make_connection(key, mark);
    if (entry->generation != (*mark & GENERATION_MASK)) {
        tell_closed(entry, key->ssl, CLOSED_REUSED);
        begin(entry, key, *mark);
    }
    return entry;
}

static __always_inline void note_tail(struct shared *all, struct connection *of) {
    u64 id = of->id;
    u32 zero = 0;
    struct tail *tail = tails.lookup(&id);
    if (!tail) {
        struct tail *blank = blank_tail.lookup(&zero);
        if (blank)
            tails.update(&id, blank);
        tail = tails.lookup(&id);
    }
    if (!tail) {
        __sync_fetch_and_add(&all->tails_refused, 1);
        return;
    }
    tail->shard = of->shard;
    __builtin_memcpy(tail->offset, of->offset, sizeof(tail->offset));
    __builtin_memcpy(tail->lost, of->lost, sizeof(tail->lost));
}

static __always_inline void lose(struct shared *all, struct ring *home, struct connection *of,
                                 u32 direction, u32 reason, u64 bytes) {
    __sync_fetch_and_add(&home->lost[reason & 3], bytes);
    __sync_fetch_and_add(&of->lost[direction & 1][reason & 3], (u32)bytes);
    note_tail(all, of);
}
