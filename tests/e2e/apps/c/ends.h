/* Both ends of a TLS connection in one process, and what they really said: each end's bytes, as
 * its calls accepted or returned them, go to the files <name>.sent and <name>.received.
 * Written against the headers of OpenSSL 3, with nothing that 1.1 has not. */
#ifndef ENDS_H
#define ENDS_H

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
    SSL *ssl;
    FILE *sent, *received;
    int again; /* calls that had to be made again */
};

static inline void must(int good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* A program that runs for as long as it is let keeps no truth: it would fill the disk. */
static int keeps_truth = 1;

static inline FILE *truth(const char *name, const char *what) {
    char path[64];
    snprintf(path, sizeof(path), "%s.%s", name, what);
    FILE *file = fopen(keeps_truth ? path : "/dev/null", "wb");
    must(file != 0, "fopen");
    return file;
}

static inline struct end an_end(SSL *ssl, const char *name) {
    struct end end = {ssl, truth(name, "sent"), truth(name, "received"), 0};
    return end;
}

static inline void finish(struct end *end) {
    SSL_free(end->ssl);
    fclose(end->sent);
    fclose(end->received);
}

/* Bytes that tell where they belong. */
static inline void fill(unsigned char *data, size_t size, unsigned seed) {
    unsigned x = seed * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = x >> 24;
    }
}

static inline SSL_CTX *context(int server, const char *certificate, int version) {
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    must(ctx != 0, "SSL_CTX_new");
    if (version) {
        SSL_CTX_set_min_proto_version(ctx, version);
        SSL_CTX_set_max_proto_version(ctx, version);
    }
    if (server) {
        must(SSL_CTX_use_certificate_file(ctx, certificate, SSL_FILETYPE_PEM) == 1, "certificate");
        must(SSL_CTX_use_PrivateKey_file(ctx, certificate, SSL_FILETYPE_PEM) == 1, "key");
    }
    return ctx;
}

/* Two sockets that take little at once, and never wait. */
static inline void sockets(int pair[2]) {
    int small = 4608;
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    for (int i = 0; i < 2; i++) {
        fcntl(pair[i], F_SETFL, O_NONBLOCK);
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    }
}

static inline void connect_ends(SSL *client, SSL *server) {
    int pair[2];
    sockets(pair);
    SSL_set_fd(client, pair[0]);
    SSL_set_fd(server, pair[1]);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
}

static inline void shake(SSL *client, SSL *server) {
    int first = 0, second = 0;
    while (first != 1 || second != 1) {
        first = SSL_do_handshake(client);
        second = SSL_do_handshake(server);
        must(first == 1 || SSL_get_error(client, first) != SSL_ERROR_SSL, "client's handshake");
        must(second == 1 || SSL_get_error(server, second) != SSL_ERROR_SSL, "server's handshake");
    }
}

static inline void make_ends(struct end *client, struct end *server, const char *certificate,
                             int version) {
    *client = an_end(SSL_new(context(0, 0, version)), "client");
    *server = an_end(SSL_new(context(1, certificate, version)), "server");
    connect_ends(client->ssl, server->ssl);
    shake(client->ssl, server->ssl);
}

/* One call; bytes that it took, or 0 where it has to be made again. */
static inline size_t put(struct end *end, const unsigned char *data, size_t size, int extended) {
    size_t taken = 0;
    int result = extended ? SSL_write_ex(end->ssl, data, size, &taken)
                          : SSL_write(end->ssl, data, (int)size);
    if (result <= 0) {
        must(SSL_get_error(end->ssl, result) != SSL_ERROR_SSL, "SSL_write");
        end->again++;
        return 0;
    }
    if (!extended)
        taken = result;
    fwrite(data, 1, taken, end->sent);
    return taken;
}

static inline size_t get(struct end *end, size_t most, int extended) {
    static unsigned char buffer[1 << 16];
    size_t got = 0;
    int result = extended ? SSL_read_ex(end->ssl, buffer, most, &got)
                          : SSL_read(end->ssl, buffer, (int)most);
    if (result <= 0) {
        must(SSL_get_error(end->ssl, result) != SSL_ERROR_SSL, "SSL_read");
        end->again++;
        return 0;
    }
    if (!extended)
        got = result;
    fwrite(buffer, 1, got, end->received);
    return got;
}

/* All of it, while the other end reads; in calls of `each` bytes at most. */
static inline void carry(struct end *from, struct end *to, const unsigned char *data, size_t size,
                         size_t each, size_t most, int extended) {
    size_t done = 0, arrived = 0;
    while (arrived < size) {
        if (done < size)
            done += put(from, data + done, size - done < each ? size - done : each, extended);
        arrived += get(to, most, extended);
    }
}

/* Waits until it may begin: its library is probed by then. */
static inline void wait_for_start(void) {
    char line[8];
    must(read(0, line, sizeof(line)) > 0, "a line to begin");
}

#endif
