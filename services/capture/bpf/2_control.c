/* Control events: few, small, each into the control ring or, where that refuses although it has
 * room, into its spare. The reader is woken only where it sleeps. */

static __always_inline u64 wake_flag() {
    struct shared *all = common();
    if (!all || !all->waiting)
        return BPF_RB_NO_WAKEUP;
    all->waiting = 0;
    return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void control_is_refused() {
    struct shared *all = common();
    if (all)
        __sync_fetch_and_add(&all->control_refused, 1);
}

static __always_inline void fill_opened(struct control *event, struct connection *to, u64 ssl,
                                        u32 tgid) {
    event->kind = CONTROL_OPENED;
    event->detail = to->mid_connection ? OPENED_MID_CONNECTION : 0;
    if (to->state & STATE_SHED)
        event->detail |= OPENED_SHED;
    event->shard = to->shard;
    event->tgid = tgid;
    event->connection = to->id;
    event->boot_ns = to->first_boot_ns;
    event->ssl = ssl;
    event->target = to->target;
    event->cgroup = bpf_get_current_cgroup_id();
    struct name *name = names.lookup(&tgid);
    if (name)
        __builtin_memcpy(event->process, name->comm, sizeof(event->process));
    else
        bpf_get_current_comm(event->process, sizeof(event->process));
}

static __always_inline int tell_opened(struct connection *to, u64 ssl, u32 tgid) {
    struct control *event = control.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_opened(event, to, ssl, tgid);
        control.ringbuf_submit(event, wake_flag());
        return 1;
    }
    event = control_spare.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_opened(event, to, ssl, tgid);
        control_spare.ringbuf_submit(event, wake_flag());
        return 1;
    }
    control_is_refused();
    return 0;
}

static __always_inline void fill_closed(struct control *event, struct connection *of, u64 ssl,
                                        u8 why) {
    event->kind = CONTROL_CLOSED;
    event->detail = why;
    event->shard = of->shard;
    event->tgid = 0;
    event->connection = of->id;
    event->boot_ns = bpf_ktime_get_boot_ns();
    event->ssl = ssl;
    __builtin_memcpy(event->offset, of->offset, sizeof(event->offset));
    __builtin_memcpy(event->lost, of->lost, sizeof(event->lost));
}

static __always_inline int tell_closed(struct connection *of, u64 ssl, u8 why) {
    if (!of->announced)
        return 0;
    struct control *event = control.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_closed(event, of, ssl, why);
        control.ringbuf_submit(event, wake_flag());
        return 1;
    }
    event = control_spare.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_closed(event, of, ssl, why);
        control_spare.ringbuf_submit(event, wake_flag());
        return 1;
    }
    control_is_refused();
    return 0;
}

static __always_inline void fill_addressed(struct control *event, struct connection *of,
                                           struct addresses *ends) {
    event->kind = CONTROL_ADDRESSED;
    event->shard = of->shard;
    event->connection = of->id;
    __builtin_memcpy(&event->addresses, ends, sizeof(event->addresses));
}

/* Of a connection that was told to be open, and whose ends are proven. */
static __always_inline int tell_addressed(struct connection *of, struct addresses *ends) {
    struct control *event = control.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_addressed(event, of, ends);
        control.ringbuf_submit(event, wake_flag());
        return 1;
    }
    event = control_spare.ringbuf_reserve(sizeof(struct control));
    if (event) {
        fill_addressed(event, of, ends);
        control_spare.ringbuf_submit(event, wake_flag());
        return 1;
    }
    control_is_refused();
    return 0;
}

/* An event that is its kind and a process: the bell, or an exit. */
static __always_inline void tell(u8 kind, u32 tgid) {
    struct control *event = control.ringbuf_reserve(sizeof(struct control));
    if (event) {
        event->kind = kind;
        event->tgid = tgid;
        control.ringbuf_submit(event, wake_flag());
        return;
    }
    event = control_spare.ringbuf_reserve(sizeof(struct control));
    if (event) {
        event->kind = kind;
        event->tgid = tgid;
        control_spare.ringbuf_submit(event, wake_flag());
        return;
    }
    control_is_refused();
}
