/* Where connections lead: the sockets below TLS objects, and their addresses. Only what is proven is
 * kept. Of the kernel's own structs nothing is known but where their fields lie, which the reader
 * takes from the running kernel's type information (services/capture/btf.py); where it has none
 * `kernel_layout` stays zero, and nothing is proven. */

/* Of one TLS object. `proven` is told last. */
struct ends {
    struct addresses addresses;
    u64 wbio;        /* where its ciphertext goes, if that was seen to be set */
    u64 read_buffer; /* of the last read within a call of it */
    u32 read_fd;
    u8 proven;
    u8 generation;
    u16 unused;
};

/* What a process has to do with sockets: calls of TLS, and ciphertext that waits to be sent. */
enum { HINT_CALLS = 1, HINT_EXPECTS = 2 };

/* By process; and how many calls are watched now: where none is, system calls needn't be looked at.
 * One that never ends, as of a fiber that is dropped, is counted for ever, which costs some time. */
struct hints {
    u64 watched;
    u8 of[PIDS];
};

BPF_TABLE("array", u32, struct kernel_layout, kernel_layout, 1);
BPF_TABLE("array", u32, struct ends, blank_ends, 1);
BPF_TABLE("lru_hash", struct connection_key, struct ends, ends, CONNECTIONS);
/* By a BIO in the place of the TLS object: whose it is. */
BPF_TABLE("lru_hash", struct connection_key, u64, bios, CONNECTIONS);
/* By what ciphertext begins with: whose it is, or 0 where that can't be told. */
BPF_TABLE("lru_hash", u64, u64, expected, EXPECTED);
BPF_TABLE("array", u32, struct hints, hints, 1);

static __always_inline struct hints *all_hints() {
    u32 zero = 0;
    return hints.lookup(&zero);
}

static __always_inline u8 *hint_of(struct hints *all, u32 tgid) {
    u64 index = tgid;
    index &= PIDS - 1;
    return all->of + index;
}

/* Whether what the thread does within the call is looked at. */
static __always_inline void watch(struct call *call, u32 watched) {
    struct hints *all = call->counted == watched ? 0 : all_hints();
    call->watched = call->counted = watched;
    if (all)
        __sync_fetch_and_add(&all->watched, watched ? 1 : -1);
}

/* A former process may have had the same pid and pointer. */
static __always_inline struct ends *ends_of(struct connection_key *key, u8 mark) {
    struct ends *found = ends.lookup(key);
    return found && found->generation == generation_of(mark) ? found : 0;
}

static __always_inline struct ends *make_ends(struct connection_key *key, u8 mark) {
    struct ends *found = ends_of(key, mark);
    if (found)
        return found;
    u32 zero = 0;
    struct ends *blank = blank_ends.lookup(&zero);
    if (blank)
        ends.update(key, blank);
    found = ends.lookup(key);
    if (found)
        found->generation = generation_of(mark);
    return found;
}

static __always_inline u64 follow(u64 at) {
    u64 pointer = 0;
    bpf_probe_read_kernel(&pointer, sizeof(pointer), (void *)at);
    return pointer;
}

static __always_inline u32 short_at(u64 at) {
    u16 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
    return value;
}

#define FILE_KIND 0170000
#define FILE_SOCKET 0140000
#define STREAM 1
#define TCP 6
#define MPTCP 262
#define IPV4 2
#define IPV6 10

/* The kernel's struct sock behind a descriptor of the current process, if it is TCP's. */
static __always_inline u64 sock_of(struct kernel_layout *layout, u32 fd) {
    u64 at = follow(bpf_get_current_task() + layout->task_files);
    at = follow(at + layout->files_table);
    if (!at || fd >= (u32)follow(at + layout->table_size))
        return 0;
    at = follow(follow(at + layout->table_files) + (u64)fd * sizeof(u64));
    if (!at)
        return 0;
    u32 mode = short_at(follow(at + layout->file_inode) + layout->inode_mode);
    if ((mode & FILE_KIND) != FILE_SOCKET)
        return 0;
    at = follow(at + layout->file_private);
    if (short_at(at + layout->socket_type) != STREAM)
        return 0;
    at = follow(at + layout->socket_sock);
    u32 protocol = short_at(at + layout->sock_protocol);
    return protocol == TCP || protocol == MPTCP ? at : 0;
}

static __always_inline int read_addresses(struct addresses *to, struct kernel_layout *layout,
                                          u64 sock) {
    u32 peer_port = short_at(sock + layout->sock_peer_port);
    to->peer_port = (peer_port & 0xff) << 8 | peer_port >> 8;
    to->local_port = short_at(sock + layout->sock_local_port);
    to->family = short_at(sock + layout->sock_family);
    if (!to->peer_port || !to->local_port)
        return 0;
    if (to->family == IPV4) {
        bpf_probe_read_kernel(to->local, 4, (void *)(sock + layout->sock_local));
        bpf_probe_read_kernel(to->peer, 4, (void *)(sock + layout->sock_peer));
        return 1;
    }
    bpf_probe_read_kernel(to->local, 16, (void *)(sock + layout->sock_local6));
    bpf_probe_read_kernel(to->peer, 16, (void *)(sock + layout->sock_peer6));
    return to->family == IPV6;
}

/* The descriptor is proven to be the object's. 0 where it is no connected TCP socket. */
static __always_inline int prove(struct ends *of, u32 fd) {
    u32 zero = 0;
    struct kernel_layout *layout = kernel_layout.lookup(&zero);
    if (!layout || !layout->task_files)
        return 0;
    u64 sock = sock_of(layout, fd);
    if (!sock || !read_addresses(&of->addresses, layout, sock))
        return 0;
    of->proven = 1;
    return 1;
}

/* Tells of a connection that is open to the reader, once. */
static __always_inline void tell_ends(struct connection *of, struct ends *found) {
    if (of->announced && found->proven && !(of->state & (STATE_ADDRESSED | STATE_SHED)) &&
        tell_addressed(of, &found->addresses))
        of->state |= STATE_ADDRESSED;
}

/* Where the object begins anew, or has another transport. */
static __always_inline void unprove(struct connection_key *key) {
    struct ends *found = ends.lookup(key);
    if (found) {
        found->proven = 0;
        found->read_buffer = 0;
    }
    struct connection *entry = connections.lookup(key);
    if (entry)
        entry->state &= ~STATE_ADDRESSED;
}
