/*
 * The handler "program": a connection goes to the spawner, which starts the service's program on it. Runs in
 * a worker, which neither reads a byte of the connection nor keeps a copy of it, and counts it until the
 * spawner does.
 */
#include "handler/program.h"

#include "base/fd.h"
#include "base/log.h"
#include "log_ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct programs {
    const struct handler_host *host; /* borrows */
    struct spawner_user user;
    uint64_t n_sent;  /* connections, in all; the number of one is its token */
    uint64_t n_taken; /* that came to the spawner; in their order */
};

static struct stats_service *counters(const struct programs *programs)
{
    return &programs->host->page->service[programs->host->slot];
}

static void on_connected(void *context)
{
    struct programs *programs = context;

    programs->host->well(programs->host);
}

/* What it had not taken went with it, and is closed. */
static void on_lost(void *context)
{
    struct programs *programs = context;
    struct log_about about = { .id = LOG_ID_PROGRAM_FAILED, .service = programs->host->service->name };
    uint64_t n = programs->n_sent - programs->n_taken;

    programs->n_taken = programs->n_sent;
    stats_add(&counters(programs)->programs_failed, n);
    if (n > 0)
        log_write(LOG_WARNING, &about, "%" PRIu64 " connection%s lost with the spawner", n,
                  n == 1 ? " was" : "s were");
}

static void on_packet(void *context, const struct spawner_packet *packet, int fds[SPAWNER_FDS_MAX])
{
    struct programs *programs = context;

    for (int i = 0; i < SPAWNER_FDS_MAX; i++)
        fd_close(&fds[i]);
    if (packet->word == SPAWNER_TAKEN && packet->token <= programs->n_sent)
        programs->n_taken = packet->token;
    programs->host->room(programs->host);
}

static int start(const struct handler_host *host, void **ret_context)
{
    struct programs *programs = calloc(1, sizeof(*programs));

    if (!programs)
        return -ENOMEM;
    programs->host = host;
    programs->user = (struct spawner_user){
        .service = host->index,
        .context = programs,
        .on_connected = on_connected,
        .on_lost = on_lost,
        .on_packet = on_packet,
    };
    *ret_context = programs;
    spawner_link_join(host->spawner, &programs->user);
    return 0;
}

static void stop(void *context)
{
    struct programs *programs = context;

    spawner_link_leave(&programs->user);
    free(programs);
}

static bool waits(void *context)
{
    const struct programs *programs = context;
    const struct handler_host *host = programs->host;

    if (!spawner_link_is_connected(host->spawner) || !spawner_link_has_room(host->spawner))
        return true;
    return host->service->overload == OVERLOAD_WAIT &&
           stats_sum_living(host->stats, host->slot, offsetof(struct stats_service, programs)) +
                   programs->n_sent - programs->n_taken >=
               (uint64_t)host->service->max_programs;
}

static int take(void *context, int fd, const struct addr *peer, const struct addr *local,
                void (*done)(void *token), void *token)
{
    struct programs *programs = context;
    struct spawner_packet packet = {
        .word = SPAWNER_PROGRAM,
        .service = programs->host->index,
        .number = (uint32_t)programs->n_sent + 1,
        .token = programs->n_sent + 1,
        .peer = *peer,
        .local = *local,
    };

    /* First, since the spawner counts it as soon as it comes. */
    done(token);
    programs->n_sent++;
    if (spawner_link_send(programs->host->spawner, &packet, fd) < 0) {
        programs->n_sent--;
        stats_add(&counters(programs)->programs_failed, 1);
    }
    return 0;
}

const struct handler program_handler = {
    .settles = true,
    .start = start,
    .stop = stop,
    .waits = waits,
    .take = take,
};
