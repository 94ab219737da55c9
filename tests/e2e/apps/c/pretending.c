/* A library with the interface of libssl that encrypts nothing: for what the real one can't be
 * brought to. Its reads nest as BoringSSL's do; a read's bytes are counted up from the last. */
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

#define CALL __attribute__((noinline, noclone, visibility("default")))

struct ssl {
    unsigned char next;
    int references;
};

static struct ssl all[8];
static int used;

CALL int SSL_clear(struct ssl *ssl) {
    ssl->next = 0;
    return 1;
}

CALL struct ssl *SSL_new(void *context) {
    (void)context;
    struct ssl *ssl = &all[used++];
    ssl->references = 1;
    SSL_clear(ssl);
    return ssl;
}

CALL int SSL_up_ref(struct ssl *ssl) {
    ssl->references++;
    return 1;
}

CALL void SSL_free(struct ssl *ssl) {
    ssl->references--;
}

CALL int SSL_peek(struct ssl *ssl, void *data, int size) {
    for (int i = 0; i < size; i++)
        ((unsigned char *)data)[i] = ssl->next + i;
    return size;
}

CALL int SSL_read(struct ssl *ssl, void *data, int size) {
    int got = SSL_peek(ssl, data, size);
    ssl->next += got;
    return got;
}

CALL int SSL_read_ex(struct ssl *ssl, void *data, size_t size, size_t *got) {
    int result = SSL_read(ssl, data, (int)size);
    *got = result > 0 ? result : 0;
    return result > 0;
}

/* Doesn't look at what it is given. */
CALL int SSL_write(struct ssl *ssl, const void *data, int size) {
    (void)data;
    return ssl->references > 0 ? size : -1;
}

CALL int SSL_write_ex(struct ssl *ssl, const void *data, size_t size, size_t *taken) {
    int result = SSL_write(ssl, data, (int)size);
    *taken = result > 0 ? result : 0;
    return result > 0;
}

CALL ssize_t SSL_sendfile(struct ssl *ssl, int fd, off_t offset, size_t size, int flags) {
    (void)fd, (void)offset, (void)flags;
    return ssl->references > 0 ? (ssize_t)size : -1;
}
