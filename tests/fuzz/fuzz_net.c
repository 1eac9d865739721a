/*
 * Any text as a network of `allow` or `deny`. Holds that what is read is printed to a text that is read to
 * the same, that a network contains its own address and none of another family, and that its bits fit the
 * family.
 */
#include "base/addr.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct net *net)
{
    char text[ADDR_TEXT_MAX], again_text[ADDR_TEXT_MAX];
    struct sockaddr_storage sa;
    struct addr back;
    struct net again;

    assert(net->base.family == AF_INET || net->base.family == AF_INET6);
    assert(net->bits <= (net->base.family == AF_INET ? 32 : 128));
    assert(strlen(net_print(text, net)) < ADDR_TEXT_MAX);
    int r = net_parse(text, &again);
    assert(r == 0 && again.bits == net->bits && addr_equal(&again.base, &net->base));
    assert(strcmp(net_print(again_text, &again), text) == 0);

    assert(net_contains(net, &net->base));
    addr_to_sockaddr(&net->base, &sa);
    addr_from_sockaddr(&back, &sa);
    assert(addr_equal(&back, &net->base));
    back.family = net->base.family == AF_INET ? AF_INET6 : AF_INET;
    assert(!net_contains(net, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net net;
    char *text = malloc(size + 1);

    assert(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    int r = net_parse(text, &net);
    free(text);
    assert(r == 0 || r == -EINVAL || r == -ERANGE || r == -EDOM);
    if (r == 0)
        check(&net);
    return 0;
}
