/* Both ends of a connection of Go's, as the runtime's own record of its socket has them: the Conn's
 * transport is a *net.TCPConn, that a pointer to a netFD. Whatever else a transport is (a wrapper, a
 * pipe, TLS within TLS) is told by what lies where the netFD should: nothing is assumed of it, and
 * then there are no addresses. The offsets have been the same since Go 1.19. */

#define GO_NET_FD 56 /* family, sotype, isConnected, net (2 words), laddr (2), raddr (2) */
#define GO_SOCK_STREAM 1
#define GO_IPV6 10

/* As net.TCPAddr: a slice, and the port. */
struct go_address {
    u64 ip, length, capacity, port;
};

struct go_walk {
    u64 transport[2]; /* net.Conn's words: its type's, and its value */
    u64 net_fd;
    u64 family, type, connected;
    u64 net[2];
    u64 local[2], peer[2];
    struct go_address address;
    u8 text[8];
    struct addresses ends;
};

/* By goroutine: too large for the stack. */
BPF_TABLE("lru_hash", u64, struct go_walk, go_walks, 1024);
BPF_TABLE("array", u32, struct go_walk, blank_walk, 1);

static __always_inline int go_socket(struct go_walk *walk, u64 conn) {
    if (bpf_probe_read_user(walk->transport, 16, (void *)conn) ||
        bpf_probe_read_user(&walk->net_fd, 8, (void *)walk->transport[1]) ||
        bpf_probe_read_user(&walk->family, 72, (void *)(walk->net_fd + GO_NET_FD)))
        return 0;
    if ((walk->family != 2 && walk->family != GO_IPV6) || walk->type != GO_SOCK_STREAM ||
        walk->local[0] != walk->peer[0] || !walk->local[0] || walk->net[1] - 3 > 1)
        return 0;
    return !bpf_probe_read_user(walk->text, 3, (void *)walk->net[0]) && walk->text[0] == 't' &&
           walk->text[1] == 'c' && walk->text[2] == 'p';
}

/* An IPv4 address is written as IPv6 has it. */
static __always_inline int go_end(struct go_walk *walk, u64 from, u8 *to, u16 *port) {
    struct go_address *address = &walk->address;
    if (bpf_probe_read_user(address, sizeof(*address), (void *)from) || !address->port ||
        address->port > 65535)
        return 0;
    *port = address->port;
    if (address->length == 16)
        return !bpf_probe_read_user(to, 16, (void *)address->ip);
    __builtin_memset(to, 0, 10);
    to[10] = to[11] = 0xff;
    return address->length == 4 && !bpf_probe_read_user(to + 12, 4, (void *)address->ip);
}

/* Once its bytes are delivered: what they lie behind does not matter to the addresses. */
static __always_inline void go_tell_addresses(struct call *call) {
    if (!call->go.is_new)
        return;
    call->go.is_new = 0;
    u32 zero = 0;
    struct go_walk *walk = blank_walk.lookup(&zero);
    if (!walk)
        return;
    go_walks.update(&call->go.g, walk);
    walk = go_walks.lookup(&call->go.g);
    if (!walk || !go_socket(walk, call->owner.ssl) ||
        !go_end(walk, walk->local[1], walk->ends.local, &walk->ends.local_port) ||
        !go_end(walk, walk->peer[1], walk->ends.peer, &walk->ends.peer_port))
        return;
    walk->ends.family = GO_IPV6;
    struct connection *of = connections.lookup(&call->owner);
    if (of && of->announced)
        tell_addressed(of, &walk->ends);
}
