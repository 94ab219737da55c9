/* What proves which socket is a TLS object's. Two ways:
 * - a system call within a probed call of the object, on the same thread and stack: a write of what
 *   begins as a TLS record does, or a read where the one before has brought such a beginning;
 * - a write, by any thread of the process, of the very ciphertext that the object has put out.
 * Whose ciphertext is put out is known within a probed call, and where the object's BIO was seen to
 * be set. What could be of two is nobody's. */

/* How far below a probed call's frame its own system calls are; other stacks are farther. */
#define DEEP 32768

enum { READS = 1, WRITES = 2, IN_VECTOR = 4, IN_MESSAGE = 8 };

static __always_inline u32 kind_of(u64 number) {
    switch (number) {
    case SYS_READ:
    case SYS_RECVFROM:
        return READS;
    case SYS_WRITE:
    case SYS_SENDTO:
        return WRITES;
    case SYS_READV:
        return READS | IN_VECTOR;
    case SYS_WRITEV:
        return WRITES | IN_VECTOR;
    case SYS_RECVMSG:
        return READS | IN_MESSAGE;
    case SYS_SENDMSG:
        return WRITES | IN_MESSAGE;
    }
    return 0;
}

#define REGISTER(regs, of) follow((regs) + (u64)&of((struct pt_regs *)0))

/* 0 where it can't be read. */
static __always_inline u64 word_at(u64 at) {
    u64 word = 0;
    bpf_probe_read_user(&word, sizeof(word), (void *)at);
    return word;
}

/* Where the bytes of a read or write begin. */
static __always_inline u64 buffer_of(u32 kind, u64 argument) {
    if (kind & IN_MESSAGE)
        argument = word_at(argument + 2 * sizeof(u64));
    return kind & (IN_VECTOR | IN_MESSAGE) ? word_at(argument) : argument;
}

#define RECORD_MOST (16384 + 2048)
#define HANDSHAKE 22

/* Whether this is how a TLS record begins: its type, version 3.x, and a length that can be. */
static __always_inline int is_record(u64 word) {
    u32 length = (word >> 24 & 0xff) << 8 | (word >> 32 & 0xff);
    return (u8)(word - 20) < 4 && (word >> 8 & 0xff) == 3 && (word >> 16 & 0xff) <= 4 && length &&
           length <= RECORD_MOST;
}

/* The beginning of a hello's random in the second word, where its server asks for another hello. */
#define RETRY 0x74ad21cfULL

/* Of handshakes in the clear only the hellos are anybody's own, by their random. */
static __always_inline int is_own(u64 first, u64 second) {
    if ((u8)first != HANDSHAKE)
        return 1;
    u8 message = first >> 40;
    return message == 1 || (message == 2 && (second >> 24 & 0xffffffff) != RETRY);
}

/* Of the first 32 bytes, of which at least 13 are random; 0 where they are not what they must be. */
static __always_inline u64 fingerprint(u64 at, u32 tgid) {
    u64 first = word_at(at), second = word_at(at + 8);
    if (!is_record(first) || !is_own(first, second))
        return 0;
    u64 hash = mixed(mixed(SALT ^ tgid ^ first) ^ second);
    return mixed(mixed(hash ^ word_at(at + 16)) ^ word_at(at + 24));
}
#define FINGERPRINT_BYTES 32

static __always_inline int is_below(struct call *call, u64 stack) {
    return is_under_way(call) && call->stack - stack < DEEP;
}

/* The call of TLS that this thread is in: of two the inner one. */
static __always_inline struct call *innermost(u32 tid, u64 stack) {
    struct call_key key = {tid, DIRECTION_EGRESS};
    struct call *writing = calls.lookup(&key);
    key.direction = DIRECTION_INGRESS;
    struct call *reading = calls.lookup(&key);
    if (writing && !is_below(writing, stack))
        writing = 0;
    if (reading && !is_below(reading, stack))
        reading = 0;
    if (!reading || !writing)
        return reading ? reading : writing;
    return reading->stack < writing->stack ? reading : writing;
}

static __always_inline void found_out(struct connection_key *key, struct ends *of) {
    struct connection *entry = connections.lookup(key);
    if (entry)
        tell_ends(entry, of);
}

/* A read's bytes are not there yet: where they will be is kept, and looked at by the next one. */
static __always_inline int is_evidence(struct ends *of, u32 kind, u32 fd, u64 buffer) {
    if (kind & WRITES)
        return is_record(word_at(buffer));
    if (of->read_buffer && of->read_fd == fd && is_record(word_at(of->read_buffer)))
        return 1;
    of->read_fd = fd;
    of->read_buffer = buffer;
    return 0;
}

static __always_inline int within(struct call *call, u32 kind, u64 regs) {
    u8 *mark = mark_of(call->owner.tgid);
    struct ends *of = mark ? make_ends(&call->owner, *mark) : 0;
    if (!of || of->proven)
        return 0;
    if (!is_evidence(of, kind, REGISTER(regs, PT_REGS_PARM1),
                     buffer_of(kind, REGISTER(regs, PT_REGS_PARM2))))
        return 0;
    FORGET(of);
    FORGET(call);
    if (!prove(of, REGISTER(regs, PT_REGS_PARM1)))
        return 0;
    call->watched = 0;
    found_out(&call->owner, of);
    return 0;
}

/* Ciphertext that leaves, maybe one that was put out before. */
static __always_inline int sent(u32 kind, u64 regs) {
    struct connection_key key = {0, bpf_get_current_pid_tgid() >> 32, 0};
    struct hints *all = all_hints();
    if (!all || !(*hint_of(all, key.tgid) & HINT_EXPECTS))
        return 0;
    key.ssl = fingerprint(buffer_of(kind, REGISTER(regs, PT_REGS_PARM2)), key.tgid);
    u64 *owner = key.ssl ? expected.lookup(&key.ssl) : 0;
    u8 *mark = mark_of(key.tgid);
    if (!owner || !*owner || !mark)
        return 0;
    key.ssl = *owner;
    struct ends *of = ends_of(&key, *mark);
    if (of && !of->proven && prove(of, REGISTER(regs, PT_REGS_PARM1)))
        found_out(&key, of);
    return 0;
}

/* Of every process and every system call: what is not of interest is found out first. */
int on_syscall(struct bpf_raw_tracepoint_args *ctx) {
    u32 kind = kind_of(ctx->args[1]);
    if (!kind)
        return 0;
    u64 task = bpf_get_current_pid_tgid();
    struct hints *all = all_hints();
    if (!all || !*hint_of(all, task >> 32))
        return 0;
    if (*(volatile u64 *)&all->watched) {
        struct call *call = innermost(task, REGISTER(ctx->args[0], PT_REGS_SP));
        if (call)
            return call->watched ? within(call, kind, ctx->args[0]) : 0;
    }
    return kind & WRITES ? sent(kind, ctx->args[0]) : 0;
}

/* Within a call the ciphertext is the call's object's, outside of one the BIO's owner's: handshakes
 * flush without a call. A BIO that was freed may be another's now, and says nothing then. Puts the
 * object into the key that had the BIO. */
static __always_inline int find_owner(struct connection_key *key, struct pt_regs *ctx, u8 mark) {
    u64 *owner = bios.lookup(key);
    if (owner) {
        key->ssl = *owner;
        struct ends *of = ends_of(key, mark);
        if (of && of->wbio == PT_REGS_PARM1(ctx))
            return !of->proven;
    }
    struct call *call = innermost(bpf_get_current_pid_tgid(), PT_REGS_SP(ctx));
    if (!call || !call->watched)
        return 0;
    key->ssl = call->owner.ssl;
    return 1;
}

static __always_inline void expect(struct connection_key *key, u64 print, u8 mark) {
    make_ends(key, mark);
    u64 *other = expected.lookup(&print);
    if (other && *other != key->ssl)
        key->ssl = 0;
    expected.update(&print, &key->ssl);
    struct hints *all = all_hints();
    if (all)
        *hint_of(all, key->tgid) |= HINT_EXPECTS;
}

/* BIO_write, or what it calls for BIOs in memory: ciphertext on its way out, if the BIO is where an
 * object writes to. */
int on_cipher_enter(struct pt_regs *ctx) {
    struct connection_key key = {PT_REGS_PARM1(ctx), bpf_get_current_pid_tgid() >> 32, 0};
    u8 *mark = mark_of(key.tgid);
    if (!mark || !included(*mark) || (int)PT_REGS_PARM3(ctx) < FINGERPRINT_BYTES)
        return 0;
    if (!find_owner(&key, ctx, *mark))
        return 0;
    u64 print = fingerprint(PT_REGS_PARM2(ctx), key.tgid);
    if (print)
        expect(&key, print, *mark);
    return 0;
}

/* The object's ciphertext goes there from now on. */
static __always_inline int set_wbio(u64 ssl, u64 bio) {
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    u8 *mark = mark_of(tgid);
    if (!mark || !included(*mark))
        return 0;
    struct connection_key key = {ssl, tgid, 0};
    struct ends *of = make_ends(&key, *mark);
    if (!of || of->wbio == bio)
        return 0;
    if (of->proven)
        unprove(&key);
    of->wbio = bio;
    key.ssl = bio;
    bios.update(&key, &ssl);
    return 0;
}

int on_bios_enter(struct pt_regs *ctx) {
    return set_wbio(PT_REGS_PARM1(ctx), PT_REGS_PARM3(ctx));
}

int on_wbio_enter(struct pt_regs *ctx) {
    return set_wbio(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
}

/* A handshake of another object within a call (a callback that asks somebody by TLS): from here on
 * what the thread writes may be that one's. */
int on_handshake_enter(struct pt_regs *ctx) {
    struct call_key key = {bpf_get_current_pid_tgid(), DIRECTION_EGRESS};
    struct call *call = calls.lookup(&key);
    if (call && call->owner.ssl != PT_REGS_PARM1(ctx))
        call->watched = 0;
    key.direction = DIRECTION_INGRESS;
    call = calls.lookup(&key);
    if (call && call->owner.ssl != PT_REGS_PARM1(ctx))
        call->watched = 0;
    return 0;
}
