/* What happens in the middle of a connection: midway keyupdate|renegotiation|early|peek CERTIFICATE */
#include "ends.h"

static struct end client, server;
static unsigned char data[100000];

static void both_ways(size_t size) {
    carry(&client, &server, data, size, 5000, 4096, 0);
    carry(&server, &client, data + size, size, 5000, 4096, 1);
}

static void new_keys(void) {
    for (int i = 0; i < 5; i++) {
        both_ways(3000 + i);
        must(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), "SSL_key_update");
        must(SSL_key_update(server.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), "SSL_key_update");
    }
    both_ways(2000);
}

static void another_handshake(void) {
    both_ways(3000);
    must(SSL_renegotiate(server.ssl), "SSL_renegotiate");
    SSL_do_handshake(server.ssl);
    both_ways(4000);
    must(SSL_num_renegotiations(server.ssl) > 0, "the renegotiation");
    both_ways(2000);
}

/* A look takes nothing, however often. */
static void looks(void) {
    unsigned char seen[5000];
    size_t length;
    for (int i = 0; i < 100; i++) {
        size_t left = 1 + i * 13;
        while (!put(&client, data + i, left, i % 2))
            ;
        while (left) {
            for (int look = 0; look < 3; look++) {
                SSL_peek(server.ssl, seen, sizeof(seen));
                SSL_peek_ex(server.ssl, seen, sizeof(seen), &length);
            }
            left -= get(&server, 200, i % 2);
        }
    }
}

static SSL_SESSION *ticket;

static int keep(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    if (!ticket && SSL_SESSION_get_max_early_data(session)) {
        ticket = session;
        return 1;
    }
    return 0;
}

static void early_data(const char *certificate) {
    SSL_CTX *from = context(0, 0, TLS1_3_VERSION), *to = context(1, certificate, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(from, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(from, keep);
    SSL_CTX_set_max_early_data(to, 16384);
    SSL_CTX_set_recv_max_early_data(to, 16384);
    SSL *first[2] = {SSL_new(from), SSL_new(to)};
    connect_ends(first[0], first[1]);
    shake(first[0], first[1]);
    unsigned char nothing[1];
    SSL_read(first[0], nothing, 1); /* takes the tickets */
    must(ticket != 0, "a ticket");

    client = an_end(SSL_new(from), "client");
    server = an_end(SSL_new(to), "server");
    connect_ends(client.ssl, server.ssl);
    SSL_set_session(client.ssl, ticket);
    unsigned char buffer[4096];
    size_t taken, got, sent = 0;
    int state = SSL_READ_EARLY_DATA_ERROR;
    for (int i = 1; i <= 5; i++) {
        while (!SSL_write_early_data(client.ssl, data + sent, 100 * i, &taken))
            must(SSL_get_error(client.ssl, 0) != SSL_ERROR_SSL, "SSL_write_early_data");
        fwrite(data + sent, 1, taken, client.sent);
        sent += taken;
    }
    for (size_t arrived = 0; arrived < sent;) {
        state = SSL_read_early_data(server.ssl, buffer, 170, &got);
        must(state != SSL_READ_EARLY_DATA_FINISH, "early data");
        if (state == SSL_READ_EARLY_DATA_SUCCESS) {
            fwrite(buffer, 1, got, server.received);
            arrived += got;
        }
    }
    must(SSL_write_early_data(server.ssl, data, 500, &taken), "the early answer");
    fwrite(data, 1, taken, server.sent);
    for (int done = 0; done != 1;) {
        done = SSL_do_handshake(client.ssl);
        if (state != SSL_READ_EARLY_DATA_FINISH)
            state = SSL_read_early_data(server.ssl, buffer, sizeof(buffer), &got);
    }
    for (size_t arrived = 0; arrived < 500;)
        arrived += get(&client, 77, 0);
    shake(client.ssl, server.ssl);
    must(SSL_get_early_data_status(server.ssl) == SSL_EARLY_DATA_ACCEPTED, "its acceptance");
    both_ways(1000);
}

int main(int count, char **words) {
    must(count == 3, "arguments");
    wait_for_start();
    fill(data, sizeof(data), 3);
    if (!strcmp(words[1], "early")) {
        early_data(words[2]);
    } else {
        int old = !strcmp(words[1], "renegotiation");
        make_ends(&client, &server, words[2], old ? TLS1_2_VERSION : TLS1_3_VERSION);
        if (old)
            another_handshake();
        else
            strcmp(words[1], "peek") ? new_keys() : looks();
    }
    finish(&client);
    finish(&server);
    return 0;
}
