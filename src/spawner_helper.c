/* Helpers as the spawner starts them: one process a slot, never two; see spawned.h. */
#include "spawned.h"

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void start_helper(struct attached *to, struct spawned_service *s, uint32_t slot);

static void tell_helper_end(struct attached *to, const struct child *child, int status)
{
    const struct spawned_service *s = child->owner;
    struct spawner_packet ended = {
        .word = SPAWNER_ENDED, .slot = child->slot, .pid = child->process.pid, .status = status
    };

    memcpy(ended.text, child->errors.last, sizeof(ended.text));
    spawned_answer(to, s, &ended, NULL, 0);
}

/* Pipes, one each way: ours, non-blocking, and the helper's. 0 or -errno. */
static int open_pipes(int ret_ours[2], int ret_theirs[2])
{
    int in[2], out[2];

    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) < 0) {
        int r = -errno;
        fd_close(&in[0]);
        fd_close(&in[1]);
        return r;
    }
    fd_set_nonblock(in[1], 1);
    fd_set_nonblock(out[0], 1);
    ret_ours[0] = in[1];
    ret_ours[1] = out[0];
    ret_theirs[0] = in[0];
    ret_theirs[1] = out[1];
    return 0;
}

static void tell_helper_failure(struct attached *to, struct spawned_service *s, uint32_t slot,
                                const struct child_failure *failure)
{
    struct spawner_packet ended = { .word = SPAWNER_ENDED, .slot = slot, .status = -failure->error };
    char why[CHILD_FAILURE_MAX];

    child_print_failure(why, s->conf, failure);
    snprintf(ended.text, sizeof(ended.text), "%.*s", (int)sizeof(ended.text) - 1, why);
    spawned_answer(to, s, &ended, NULL, 0);
}

static void close_pipes(struct child *child)
{
    for (int i = 0; i < 2; i++) {
        fd_close(&child->ours[i]);
        fd_close(&child->theirs[i]);
    }
}

/* The slot is free, and goes to who wanted it meanwhile. */
static void free_slot(struct spawned_service *s, uint32_t index)
{
    struct slot *slot = &s->slots[index];
    struct attached *wanted = slot->wanted;

    slot->child = NULL;
    slot->wanted = NULL;
    s->spawner->n_children--;
    if (wanted)
        start_helper(wanted, s, index);
    spawned_check_end(s->spawner);
}

static void on_helper_started(struct child *child, const struct child_failure *failure)
{
    struct spawned_service *s = child->owner;
    struct spawner_packet started = { .word = SPAWNER_STARTED,
                                      .slot = child->slot,
                                      .pid = child->process.pid };

    s->spawner->starting_fds -= SPAWNED_HELPER_MORE;
    if (failure) {
        close_pipes(child);
        if (child->asker)
            tell_helper_failure(child->asker, s, child->slot, failure);
        free_slot(s, child->slot);
        return;
    }
    stats_add(&s->spawner->page->jobs, 1);
    if (child->asker) {
        spawned_answer(child->asker, s, &started, child->ours, 2);
        child->ours[0] = child->ours[1] = -1;
    }
    close_pipes(child);
}

static void tell_end_once(struct child *child, int status)
{
    if (child->asker)
        tell_helper_end(child->asker, child, status);
    child->asker = NULL;
}

/*
 * Its worker need not wait for its group: the requests that it had are lost now. Where the worker has it
 * killed, its group is as good as gone, and then nobody holds its input: what is unread there goes to another
 * helper.
 */
static void on_helper_exit(struct child *child, int status)
{
    if (!child->killed)
        tell_end_once(child, status);
}

static void on_helper_end(struct child *child, int status)
{
    tell_end_once(child, status);
    free_slot(child->owner, child->slot);
}

static const struct child_hooks helper_hooks = {
    .on_started = on_helper_started,
    .on_exit = on_helper_exit,
    .on_end = on_helper_end,
};

static void start_helper(struct attached *to, struct spawned_service *s, uint32_t slot)
{
    struct spawner *spawner = s->spawner;
    struct child *child = NULL;
    int ours[2] = { -1, -1 }, theirs[2] = { -1, -1 };
    int r = open_pipes(ours, theirs);

    if (r == 0)
        r = child_start(&s->recipe, &spawner->loop, spawner->pool, theirs, spawn_env_helper(&s->recipe.env),
                        &helper_hooks, &child);
    if (r < 0) {
        for (int i = 0; i < 2; i++) {
            fd_close(&ours[i]);
            fd_close(&theirs[i]);
        }
        tell_helper_failure(to, s, slot, &(struct child_failure){ .error = r, .step = SPAWN_STEP_FORK });
        return;
    }
    assert(child);
    child->owner = s;
    child->slot = slot;
    child->asker = to;
    memcpy(child->ours, ours, sizeof(ours));
    memcpy(child->theirs, theirs, sizeof(theirs));
    s->slots[slot].child = child;
    list_append(&s->children, &child->link);
    spawner->n_children++;
    spawner->starting_fds += SPAWNED_HELPER_MORE;
}

/* A worker that asks for a second one gets it in place of the first. */
void spawned_take_helper(struct attached *from, struct spawned_service *s, uint32_t slot)
{
    struct child *child = s->slots[slot].child;

    if (!child) {
        start_helper(from, s, slot);
        return;
    }
    s->slots[slot].wanted = from;
    child_end(child, SPAWNED_GRACE_MS);
}

void spawned_kill_helper(const struct attached *from, struct spawned_service *s, uint32_t slot)
{
    struct child *child = s->slots[slot].child;

    if (!child || child->asker != from)
        return;
    child->killed = true;
    child_end(child, 0);
}

void spawned_detach_helpers(struct spawned_service *s, const struct attached *from)
{
    for (unsigned slot = 0; slot < s->n_slots; slot++) {
        struct child *child = s->slots[slot].child;
        if (s->slots[slot].wanted == from)
            s->slots[slot].wanted = NULL;
        if (!child || child->asker != from)
            continue;
        child->asker = NULL;
        child_end(child, SPAWNED_GRACE_MS);
    }
}
