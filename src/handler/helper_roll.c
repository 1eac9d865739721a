/* Replacing the helpers of a worker one after another, as an administrator asks for it. */
#include "handler/helper_pool.h"

void helper_roll_next(struct pool *pool)
{
    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (pool->helpers[i].rolling || pool->helpers[i].state != HELPER_UP)
            return;
    for (unsigned i = 0; i < pool->n_helpers; i++) {
        struct helper *helper = &pool->helpers[i];

        if (!helper->to_roll)
            continue;
        helper->rolling = true;
        helper_retire_if_idle(helper);
        return;
    }
}

void helper_roll(struct pool *pool)
{
    for (unsigned i = 0; i < pool->n_helpers; i++) {
        struct helper *helper = &pool->helpers[i];

        helper->to_roll = helper->state != HELPER_ABSENT;
        if (helper->state == HELPER_ABSENT)
            helper_ask(helper);
    }
    helper_roll_next(pool);
}
