/* Talks TLS with itself under a filter that allows what it needs and kills at anything else:
 * sealed CERTIFICATE. Prints how often it talked. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ends.h"

#define ALLOW(call)                                                                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                                         \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void seal(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read), ALLOW(write), ALLOW(close), ALLOW(brk), ALLOW(mmap), ALLOW(munmap),
        ALLOW(getpid), ALLOW(getrandom), ALLOW(futex), ALLOW(exit_group), ALLOW(newfstatat),
        ALLOW(lseek), ALLOW(fstat), ALLOW(madvise),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};
    must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
    must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "PR_SET_SECCOMP");
}

int main(int count, char **words) {
    struct end client, server;
    unsigned char data[3000];
    must(count == 2, "arguments");
    make_ends(&client, &server, words[1], 0);
    fill(data, sizeof(data), 1);
    wait_for_start();
    seal();
    int talked = 0;
    for (; talked < 100; talked++)
        carry(&client, &server, data, sizeof(data), 1000, 700, talked % 2);
    SSL_free(SSL_new(SSL_get_SSL_CTX(client.ssl)));
    printf("%d\n", talked);
    finish(&client);
    finish(&server);
    return 0;
}
