/* What only a library that pretends (pretending.c) can be brought to:
 * corners nested|unreadable|file|slack */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

void *SSL_new(void *), SSL_free(void *);
int SSL_peek(void *, void *, int), SSL_read(void *, void *, int), SSL_write(void *, const void *, int);
int SSL_read_ex(void *, void *, size_t, size_t *), SSL_write_ex(void *, const void *, size_t, size_t *);
ssize_t SSL_sendfile(void *, int, off_t, size_t, int);

#define PAGE 4096

static unsigned char buffer[70000];
static size_t length;

static void nested(void *ssl) {
    for (int i = 1; i < 500; i++) {
        SSL_peek(ssl, buffer, i);
        SSL_read_ex(ssl, buffer, i, &length);
        SSL_read(ssl, buffer, i);
    }
}

/* A page that is gone, between writes that are there. */
static void unreadable(void *ssl) {
    unsigned char *pages = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 'p', 2 * PAGE);
    SSL_write(ssl, pages, 100);
    munmap(pages + PAGE, PAGE);
    SSL_write(ssl, pages + PAGE - 50, 60);
    SSL_write_ex(ssl, pages, 200, &length);
}

static void file(void *ssl) {
    SSL_write(ssl, "head", 4);
    SSL_sendfile(ssl, 0, 0, 2000000000, 0);
    SSL_write(ssl, "tail", 4);
}

/* Large secrets on another connection, again and again, between small writes on this one. */
static void slack(void *ssl) {
    static const char secret[] = "SENTINEL-OF-ANOTHER-CONNECTION-";
    void *other = SSL_new(0);
    for (size_t i = 0; i < sizeof(buffer); i++)
        buffer[i] = secret[i % (sizeof(secret) - 1)];
    for (int i = 0; i < 300; i++) {
        SSL_write(other, buffer, 1 + i * 229 % sizeof(buffer));
        SSL_write(ssl, "nothing to hide. ", 1 + i % 17);
        usleep(i % 50 ? 0 : 12000); /* so that the ring is read, and its room used again */
    }
    SSL_free(other);
}

int main(int count, char **words) {
    char line[8];
    if (count != 2 || read(0, line, sizeof(line)) <= 0)
        return 1;
    void *ssl = SSL_new(0);
    if (!strcmp(words[1], "nested"))
        nested(ssl);
    else if (!strcmp(words[1], "unreadable"))
        unreadable(ssl);
    else
        strcmp(words[1], "file") ? slack(ssl) : file(ssl);
    SSL_free(ssl);
    return 0;
}
