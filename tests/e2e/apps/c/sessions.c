/* Both ends of GnuTLS connections in one process, and what they really said, as ends.h does for
 * OpenSSL: sessions usual|corked|ranges|file|early|packets|again CERTIFICATE */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE 300000

struct end {
    gnutls_session_t session;
    FILE *sent, *received;
};

static gnutls_certificate_credentials_t credentials;
static gnutls_datum_t ticket_key;
static gnutls_anti_replay_t anti_replay;
static unsigned char data[SIZE], buffer[1 << 16];
static int number;

static void must(int good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static FILE *truth(const char *name, const char *what) {
    char path[64];
    snprintf(path, sizeof(path), "%s%d.%s", name, number, what);
    FILE *file = fopen(path, "wb");
    must(file != 0, "fopen");
    return file;
}

static struct end an_end(const char *name, unsigned flags, int descriptor) {
    struct end end = {0, truth(name, "sent"), truth(name, "received")};
    must(!gnutls_init(&end.session, flags), "gnutls_init");
    must(!gnutls_set_default_priority(end.session), "priority");
    gnutls_credentials_set(end.session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(end.session, descriptor);
    return end;
}

static int is_new(void *nothing, time_t expires, const gnutls_datum_t *key, const gnutls_datum_t *value) {
    return 0;
}

static void make(struct end *client, struct end *server, unsigned flags) {
    int pair[2], small = 4608;
    number++;
    must(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    for (int i = 0; i < 2; i++) {
        fcntl(pair[i], F_SETFL, O_NONBLOCK);
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    }
    *client = an_end("client", GNUTLS_CLIENT | flags, pair[0]);
    *server = an_end("server", GNUTLS_SERVER | flags, pair[1]);
    gnutls_session_ticket_enable_server(server->session, &ticket_key);
    if (flags & GNUTLS_ENABLE_EARLY_DATA) {
        gnutls_anti_replay_enable(server->session, anti_replay);
        gnutls_record_set_max_early_data_size(server->session, 16384);
    }
}

static void shake(struct end *client, struct end *server) {
    int first = GNUTLS_E_AGAIN, second = GNUTLS_E_AGAIN;
    while (first || second) {
        if (first)
            first = gnutls_handshake(client->session);
        if (second)
            second = gnutls_handshake(server->session);
        must(!gnutls_error_is_fatal(first) && !gnutls_error_is_fatal(second), "handshake");
    }
}

static void finish(struct end *end) {
    int descriptor = gnutls_transport_get_int(end->session);
    gnutls_deinit(end->session);
    close(descriptor);
    fclose(end->sent);
    fclose(end->received);
}

static size_t done(ssize_t result, const void *bytes, FILE *log) {
    must(result >= 0 || !gnutls_error_is_fatal(result), "a transfer");
    if (result > 0)
        fwrite(bytes, 1, result, log);
    return result > 0 ? result : 0;
}

static size_t get(struct end *end, size_t most, int sequenced) {
    unsigned char sequence[8];
    ssize_t result = sequenced ? gnutls_record_recv_seq(end->session, buffer, most, sequence)
                               : gnutls_record_recv(end->session, buffer, most);
    return done(result, buffer, end->received);
}

/* What it has handed over or sent arrives. */
static void drain(struct end *to, size_t size) {
    for (size_t arrived = 0; arrived < size;)
        arrived += get(to, 5000, 0);
}

static void usual(struct end *from, struct end *to) {
    size_t sent = 0, arrived = 0;
    for (int i = 0; arrived < SIZE; i++) {
        size_t piece = 1 + i * 977 % 40000;
        if (sent < SIZE) /* made again with the same words until it is taken */
            sent += done(gnutls_record_send(from->session, data + sent,
                                            SIZE - sent < piece ? SIZE - sent : piece),
                         data + sent, from->sent);
        arrived += get(to, 1 + i * 331 % 20000, i % 2);
    }
}

static void uncork(struct end *from, struct end *to, size_t size) {
    size_t arrived = 0;
    while (gnutls_record_check_corked(from->session)) {
        int result = gnutls_record_uncork(from->session, 0);
        must(result >= 0 || !gnutls_error_is_fatal(result), "uncork");
        arrived += get(to, 20000, 0);
    }
    drain(to, size - arrived);
}

static void corked(struct end *from, struct end *to) {
    gnutls_record_cork(from->session);
    for (size_t sent = 0; sent < SIZE; sent += 3000)
        done(gnutls_record_send(from->session, data + sent, 3000), data + sent, from->sent);
    uncork(from, to, SIZE);
    done(gnutls_record_send(from->session, data, 100), data, from->sent);
    drain(to, 100);
}

static void ranges(struct end *from, struct end *to) {
    for (int i = 1; i < 50; i++) {
        gnutls_range_st range = {i * 10, 1000 + i * 10};
        size_t size = i * 11;
        done(gnutls_record_send_range(from->session, data, size, &range), data, from->sent);
        drain(to, size);
    }
}

static void file(struct end *from, struct end *to) {
    FILE *whole = tmpfile();
    must(whole && fwrite(data, 1, SIZE, whole) == SIZE && !fflush(whole), "tmpfile");
    off_t offset = 0;
    rewind(whole); /* GnuTLS counts the offset from where the file is */
    for (size_t sent = 0; sent < SIZE;) { /* it waits until all of it is sent */
        ssize_t result = gnutls_record_send_file(from->session, fileno(whole), &offset, 2000);
        size_t size = done(result, data + sent, from->sent);
        must(size > 0, "gnutls_record_send_file");
        drain(to, size);
        sent += size;
    }
    fclose(whole);
}

static void packets(struct end *from, struct end *to) {
    size_t sent = 0, arrived = 0;
    while (arrived < 50000) {
        if (sent < 50000)
            sent += done(gnutls_record_send(from->session, data + sent, 1000), data + sent, from->sent);
        gnutls_packet_t packet = 0;
        ssize_t result = gnutls_record_recv_packet(to->session, &packet);
        gnutls_datum_t content = {0, 0};
        if (result > 0)
            gnutls_packet_get(packet, &content, 0);
        arrived += done(result, content.data, to->received);
        if (packet)
            gnutls_packet_deinit(packet);
    }
}

/* A call that would wait is made again without its words: the library has kept them. */
static void again(struct end *from, struct end *to) {
    size_t sent = 0, arrived = 0, kept = 0;
    ssize_t result = 0;
    while (arrived < SIZE) {
        int repeated = result < 0;
        if (sent < SIZE) {
            result = gnutls_record_send(from->session, repeated ? 0 : data + sent, repeated ? 0 : 10000);
            kept += repeated && result > 0 ? result : 0;
            sent += done(result, data + sent, from->sent);
        }
        arrived += get(to, 20000, 0);
    }
    printf("%zu\n", kept);
}

static void early(void) {
    struct end client, server;
    gnutls_datum_t ticket = {0, 0};
    make(&client, &server, GNUTLS_ENABLE_EARLY_DATA);
    shake(&client, &server);
    done(gnutls_record_send(server.session, data, 10), data, server.sent);
    drain(&client, 10);
    must(!gnutls_session_get_data2(client.session, &ticket), "ticket");
    finish(&client);
    finish(&server);
    make(&client, &server, GNUTLS_ENABLE_EARLY_DATA);
    must(!gnutls_session_set_data(client.session, ticket.data, ticket.size), "resumption");
    must(!gnutls_record_send_early_data(client.session, data, 777), "early data");
    fwrite(data, 1, 777, client.sent);
    shake(&client, &server);
    must(gnutls_session_get_flags(server.session) & GNUTLS_SFLAGS_EARLY_DATA, "acceptance");
    done(gnutls_record_recv_early_data(server.session, buffer, sizeof(buffer)), buffer, server.received);
    done(gnutls_record_send(client.session, data, 100), data, client.sent);
    drain(&server, 100);
    finish(&client);
    finish(&server);
}

int main(int count, char **words) {
    char line[8];
    must(count == 3 && read(0, line, sizeof(line)) > 0, "arguments");
    must(!gnutls_certificate_allocate_credentials(&credentials), "credentials");
    must(!gnutls_certificate_set_x509_key_file(credentials, words[2], words[2], GNUTLS_X509_FMT_PEM),
         "certificate");
    must(!gnutls_session_ticket_key_generate(&ticket_key), "ticket key");
    must(!gnutls_anti_replay_init(&anti_replay), "anti-replay");
    gnutls_anti_replay_set_add_function(anti_replay, is_new);
    for (size_t i = 0, x = 1; i < SIZE; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = x >> 24;
    }
    if (!strcmp(words[1], "early")) {
        early();
        return 0;
    }
    struct {
        const char *name;
        void (*run)(struct end *, struct end *);
    } known[] = {{"usual", usual}, {"corked", corked}, {"ranges", ranges}, {"file", file},
                 {"packets", packets}, {"again", again}};
    struct end client, server;
    make(&client, &server, 0);
    shake(&client, &server);
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(words[1], known[i].name))
            continue;
        known[i].run(&client, &server);
        if (i < 4)
            known[i].run(&server, &client);
    }
    finish(&client);
    finish(&server);
    return 0;
}
