/* Processes: who is to be captured spreads on fork (processes, not threads) and ends at exit; the
 * name is the main thread's at exec. Where the fields of a tracepoint lie is read from tracefs and
 * comes in as -D: NEWTASK_PID, NEWTASK_FLAGS, EXIT_GROUP_DEAD (-1: this kernel does not say). */

#define CLONE_THREAD 0x10000ULL

int on_newtask(void *ctx) {
    if (*(u64 *)(ctx + NEWTASK_FLAGS) & CLONE_THREAD)
        return 0;
    u32 child = *(u32 *)(ctx + NEWTASK_PID);
    u32 parent = bpf_get_current_pid_tgid() >> 32;
    u8 *from = mark_of(parent);
    u8 *to = mark_of(child);
    if (!from || !to)
        return 0;
    *to = (*to & GENERATION_MASK) | (*from & VERDICT_MASK);
    struct name *name = names.lookup(&parent);
    if (name)
        keep_name(child, name);
    return 0;
}

/* What the process had open is gone: its next life is another generation. */
static __always_inline void end_life(u32 tgid, u8 kept) {
    forget_wire(tgid);
    u8 *mark = mark_of(tgid);
    if (!mark)
        return;
    u8 old = *mark;
    *mark = ((old + MARK_GENERATION) & GENERATION_MASK) | (old & kept);
    struct hints *hinted = all_hints();
    if (hinted)
        *hint_of(hinted, tgid) = 0;
    if (old & MARK_CONNECTED)
        tell(CONTROL_EXITED, tgid);
}

int on_exec(void *ctx) {
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct name name = {};
    bpf_get_current_comm(name.comm, sizeof(name.comm));
    u64 *class = classes.lookup((struct comm *)&name);
    if (class)
        name.class = *class;
    keep_name(tgid, &name);
    end_life(tgid, VERDICT_MASK);
    return 0;
}

static __always_inline void end_call(struct call_key *key) {
    struct call *call = calls.lookup(key);
    if (!call)
        return;
    watch(call, 0);
    calls.delete(key);
}

int on_exit(void *ctx) {
    u64 task = bpf_get_current_pid_tgid();
    u32 tgid = task >> 32;
    struct call_key key = {task, DIRECTION_EGRESS};
    end_call(&key);
    key.direction = DIRECTION_INGRESS;
    end_call(&key);
    key.direction = OF_GO | DIRECTION_EGRESS;
    calls.delete(&key);
    key.direction = OF_GO | DIRECTION_INGRESS;
    calls.delete(&key);
#if EXIT_GROUP_DEAD >= 0
    if (!*(u8 *)(ctx + EXIT_GROUP_DEAD))
        return 0;
#else
    if ((u32)task != tgid)
        return 0;
#endif
    end_life(tgid, 0);
    names.delete(&tgid);
    return 0;
}
