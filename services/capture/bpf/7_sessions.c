/* TLS objects that a call makes and leaves behind its first argument: gnutls_init. */

struct making {
    u64 stack;
    u64 place;
};

BPF_TABLE("lru_hash", u32, struct making, makings, 4096);

int on_new_enter_object_pointer(struct pt_regs *ctx) {
    u64 task = bpf_get_current_pid_tgid();
    u32 tid = task;
    u8 *mark = mark_of(task >> 32);
    if (!mark || !included(*mark))
        return 0;
    struct making making = {stack_of(ctx, cookie_of(ctx)), PT_REGS_PARM1(ctx)};
    makings.update(&tid, &making);
    return 0;
}

int on_new_exit_object_pointer(struct pt_regs *ctx) {
    u32 tid = bpf_get_current_pid_tgid();
    u64 ssl = 0;
    struct making *making = makings.lookup(&tid);
    if (!making || making->stack != stack_of(ctx, cookie_of(ctx)))
        return 0;
    if (!(int)PT_REGS_RC(ctx))
        bpf_probe_read_user(&ssl, sizeof(ssl), (void *)making->place);
    makings.delete(&tid);
    return born(ssl, 0);
}
