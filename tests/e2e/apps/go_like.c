/* Ends calls as Go's compiler does, with what Go's programs can't be made to have there.
 *
 * like CASES    for each letter, after a line on stdin: `k`, a call that nobody saw begin, and above
 *               whose return address lies what could be its arguments; `g`, a goroutine that can't
 *               be read. */
#include <stdio.h>
#include <string.h>

struct goroutine {
    unsigned long low, high;
};

void call(void *g, long result, void *conn, const char *buffer, long length);

__asm__(".globl call, like_read, like_read_end\n"
        "like_read: push %rbp\n pop %rbp\n"
        "like_read_end: ret\n"
        "call: push %r14\n mov %rdi, %r14\n mov %rsi, %rax\n"
        "push %r8\n push %rcx\n push %rdx\n call like_read\n"
        "add $24, %rsp\n pop %r14\n ret\n");

int main(int count, char **words) {
    static unsigned long conn = 1;
    static const char lying[] = "what lies there";
    struct goroutine g = {0, (unsigned long)&g + 4096};
    char line[16];
    for (const char *one = words[1]; *one && fgets(line, sizeof(line), stdin); one++) {
        call(*one == 'g' ? (void *)8 : &g, strlen(lying), &conn, lying, strlen(lying));
        puts("done");
        fflush(stdout);
    }
    return count - 2;
}
