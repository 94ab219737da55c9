/* A connection that several threads, fibers or owners share:
 * sharing threads|fibers|references CERTIFICATE */
#include <pthread.h>
#include <ucontext.h>

#include "ends.h"

static struct end client, server;

/* --- threads: two write, two read, a lock around each call --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t arrived;
#define EACH 150000

static void *writes(void *seed) {
    static unsigned char data[2][EACH];
    unsigned char *mine = data[(long)seed];
    fill(mine, EACH, (unsigned)(long)seed + 5);
    for (size_t done = 0; done < EACH;) {
        pthread_mutex_lock(&lock);
        size_t taken, size = EACH - done < 3001 ? EACH - done : 3001;
        do {
            taken = put(&client, mine + done, size, 0);
            if (!taken)
                arrived += get(&server, 16384, 1);
        } while (!taken); /* a call that has to be made again may not be overtaken */
        pthread_mutex_unlock(&lock);
        done += taken;
    }
    return 0;
}

static void *reads(void *unused) {
    for (int all = 0; !all;) {
        pthread_mutex_lock(&lock);
        arrived += get(&server, 16384, 0);
        all = arrived == 2 * EACH;
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

static void threads(void) {
    pthread_t all[4];
    for (long i = 0; i < 4; i++)
        must(!pthread_create(&all[i], 0, i < 2 ? writes : reads, (void *)(i & 1)), "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], 0);
}

/* --- fibers: each writes on its own connection, and gives way within the BIO's write --- */

#define FIBERS 3
#define ROUNDS 40

static ucontext_t scheduler, fibers[FIBERS];
static int current = -1, ended[FIBERS];
static struct end writers[FIBERS], readers[FIBERS];

static int give_way_and_write(BIO *bio, const char *data, int size) {
    if (current >= 0)
        swapcontext(&fibers[current], &scheduler);
    BIO_clear_retry_flags(bio);
    int written = write((int)(long)BIO_get_data(bio), data, size);
    if (written < 0)
        BIO_set_retry_write(bio);
    return written;
}

static int give_way_and_read(BIO *bio, char *data, int size) {
    if (current >= 0)
        swapcontext(&fibers[current], &scheduler);
    BIO_clear_retry_flags(bio);
    int got = read((int)(long)BIO_get_data(bio), data, size);
    if (got < 0)
        BIO_set_retry_read(bio);
    return got;
}

static long control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO *giving_way(int fd) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "giving way");
    BIO_meth_set_write(method, give_way_and_write);
    BIO_meth_set_read(method, give_way_and_read);
    BIO_meth_set_ctrl(method, control);
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, (void *)(long)fd);
    BIO_set_init(bio, 1);
    return bio;
}

static void fiber(int number) {
    unsigned char data[2000];
    for (int round = 0; round < ROUNDS; round++) {
        size_t size = 1 + (round * 37 + number * 11) % sizeof(data);
        fill(data, size, number * ROUNDS + round);
        for (size_t done = 0; !done;)
            done = put(&writers[number], data, size, round % 2);
        for (size_t got = 0; got < size;)
            got += get(&readers[number], 300, round % 2);
    }
    ended[number] = 1;
    swapcontext(&fibers[number], &scheduler);
}

static void connect_fiber(int number, const char *certificate) {
    char name[2][16];
    int pair[2];
    sockets(pair);
    for (int side = 0; side < 2; side++) {
        struct end *end = side ? &readers[number] : &writers[number];
        snprintf(name[side], sizeof(name[side]), "%s%d", side ? "server" : "client", number);
        *end = an_end(SSL_new(context(side, certificate, 0)), name[side]);
        BIO *bio = giving_way(pair[side]);
        SSL_set_bio(end->ssl, bio, bio);
        side ? SSL_set_accept_state(end->ssl) : SSL_set_connect_state(end->ssl);
    }
    shake(writers[number].ssl, readers[number].ssl);
}

static void run_fibers(const char *certificate) {
    static char stacks[FIBERS][1 << 18];
    int live = FIBERS;
    for (int i = 0; i < FIBERS; i++) {
        connect_fiber(i, certificate);
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks[i];
        fibers[i].uc_stack.ss_size = sizeof(stacks[i]);
        fibers[i].uc_link = 0;
        makecontext(&fibers[i], (void (*)(void))fiber, 1, i);
    }
    for (int turn = 0; live; turn++) {
        current = turn % FIBERS;
        if (ended[current])
            continue;
        swapcontext(&scheduler, &fibers[current]);
        live -= ended[current];
    }
    current = -1;
    for (int i = 0; i < FIBERS; i++) {
        finish(&writers[i]);
        finish(&readers[i]);
    }
}

/* --- references: the object outlives the first of its owners --- */

static void references(void) {
    unsigned char data[1000];
    fill(data, sizeof(data), 9);
    must(SSL_up_ref(client.ssl), "SSL_up_ref");
    carry(&client, &server, data, 400, 400, 4096, 0);
    must(SSL_up_ref(client.ssl), "SSL_up_ref");
    must(SSL_dup(client.ssl) == client.ssl, "SSL_dup");
    SSL_free(client.ssl);
    carry(&client, &server, data + 400, 300, 300, 4096, 1);
    SSL_free(client.ssl);
    SSL_free(client.ssl);
    carry(&server, &client, data + 700, 300, 300, 4096, 0);
}

int main(int count, char **words) {
    must(count == 3, "arguments");
    wait_for_start();
    if (!strcmp(words[1], "fibers")) {
        run_fibers(words[2]);
        return 0;
    }
    make_ends(&client, &server, words[2], 0);
    strcmp(words[1], "threads") ? references() : threads();
    finish(&client);
    finish(&server);
    return 0;
}
