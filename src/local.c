/* Shared addresses; see local.h. */
#include "local.h"

#include "base/list.h"

#include <stdlib.h>

struct local {
    struct addr addr;
    unsigned users;
};

const struct addr *local_take(struct local **last, const struct addr *addr)
{
    struct local *local = *last;

    if (!local || !addr_equal(&local->addr, addr)) {
        local = malloc(sizeof *local);
        if (!local)
            return NULL;
        *local = (struct local){ .addr = *addr };
        *last = local;
    }
    local->users++;
    return &local->addr;
}

void local_give(struct local **last, const struct addr *taken)
{
    if (!taken)
        return;
    struct local *local = container_of((uintptr_t)taken, struct local, addr);
    if (--local->users > 0)
        return;
    if (*last == local)
        *last = NULL;
    free(local);
}
