/* Writes of all kinds: writing partial|bytewise|large|retries|endless CERTIFICATE */
#include <poll.h>

#include "ends.h"

#define MIB (1 << 20)

static unsigned char data[10 * MIB];

static int may_go_on(void) {
    struct pollfd input = {0, POLLIN, 0};
    return poll(&input, 1, 0) == 0;
}

int main(int count, char **words) {
    struct end client, server;
    must(count == 3, "arguments");
    wait_for_start();
    keeps_truth = strcmp(words[1], "endless") != 0;
    make_ends(&client, &server, words[2], 0);
    fill(data, sizeof(data), 1);
    if (!strcmp(words[1], "partial")) {
        SSL_set_mode(client.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
        carry(&client, &server, data, 400000, 70000, 16384, 0);
        carry(&server, &client, data, 90000, 90000, 5000, 1);
    } else if (!strcmp(words[1], "bytewise")) {
        carry(&client, &server, data, 3000, 1, 1, 0);
        carry(&server, &client, data + 3000, 3000, 1, 1, 1);
    } else if (!strcmp(words[1], "large")) {
        carry(&client, &server, data, sizeof(data), sizeof(data), 16384, 0);
        carry(&server, &client, data, sizeof(data), sizeof(data), 16384, 1);
    } else if (!strcmp(words[1], "endless")) {
        while (may_go_on())
            carry(&client, &server, data, 5000, 1000, 700, 0);
    } else {
        for (int i = 1; i < 200; i++) {
            carry(&client, &server, data + i, i * 331, i * 331, 16384, i % 2);
            carry(&server, &client, data + 7 * i, i * 97, i * 97, 4096, i % 2);
        }
    }
    printf("%d\n", client.again + server.again);
    finish(&client);
    finish(&server);
    return 0;
}
