/* What a master has, as a state for the program that takes its place. Changes nothing. */
#include "upgrade.h"

#include "base/addr.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A copy that is not there without memory is told by *OK. */
static char *copy(const char *text, bool *ok)
{
    char *copied = text ? strdup(text) : NULL;

    *ok &= !text || copied;
    return copied;
}

static bool save_listeners(const struct listeners *ls, struct upgrade_state *s)
{
    bool ok = true;

    list_for_each (it, &ls->all) {
        const struct listener *l = container_of(it, struct listener, link);
        struct upgrade_listener *grown = upgrade_state_grow(s->listeners, &s->n_listeners, sizeof(*grown));

        if (!grown)
            return false;
        s->listeners = grown;
        grown[s->n_listeners - 1] = (struct upgrade_listener){
            .fd = l->fd,
            .store = l->store,
            .dev = (int64_t)l->id.dev,
            .ino = (int64_t)l->id.ino,
            .path = copy(l->path, &ok),
            .inherited = copy(l->inherited, &ok),
            .store_name = copy(l->store_name, &ok),
        };
    }
    return ok;
}

static int64_t index_of(const struct listeners *ls, const struct listener *wanted)
{
    int64_t n = 0;

    list_for_each (it, &ls->all) {
        if (container_of(it, struct listener, link) == wanted)
            return n;
        n++;
    }
    return -1;
}

static bool save_uses(const struct generation *g, struct upgrade_generation *to)
{
    for (size_t i = 0; i < g->listeners.len; i++) {
        struct upgrade_use *grown = upgrade_state_grow(to->uses, &to->n_uses, sizeof(*grown));

        if (!grown)
            return false;
        to->uses = grown;
        grown[to->n_uses - 1] = (struct upgrade_use){
            .listener = index_of(g->all->listeners, g->listeners.item[i]),
            .service = g->listeners.service[i] - g->conf->services,
        };
    }
    return true;
}

static bool save_trouble(const struct generation *g, const struct seat *seat, struct upgrade_generation *to)
{
    bool ok = true;

    for (size_t i = 0; i < g->conf->n_services; i++) {
        if (!seat->troubled[i])
            continue;
        struct upgrade_trouble *grown = upgrade_state_grow(to->troubles, &to->n_troubles, sizeof(*grown));
        if (!grown)
            return false;
        to->troubles = grown;
        grown[to->n_troubles - 1] = (struct upgrade_trouble){
            .place = seat->process.number,
            .service = (int64_t)i,
            .why = copy(g->trouble[i] ? g->trouble[i] : "", &ok),
        };
    }
    return ok;
}

static bool save_shelved(const struct generation *g, struct upgrade_generation *to)
{
    bool ok = true;

    for (size_t i = 0; i < g->conf->n_services; i++) {
        if (!g->shelved[i])
            continue;
        struct upgrade_shelved *grown = upgrade_state_grow(to->shelved, &to->n_shelved, sizeof(*grown));
        if (!grown)
            return false;
        to->shelved = grown;
        grown[to->n_shelved - 1] = (struct upgrade_shelved){
            .service = (int64_t)i,
            .why = copy(g->trouble[i] ? g->trouble[i] : "", &ok),
        };
    }
    return ok;
}

static struct upgrade_process process_values(const struct process *p, unsigned failures)
{
    return (struct upgrade_process){
        .place = p->number,
        .pid = p->pid,
        .pidfd = p->pidfd,
        .channel_fd = p->channel_fd,
        .page = p->page,
        .ready = p->ready,
        .left = p->left,
        .aborted = p->aborted,
        .started_ms = (int64_t)p->started_ms,
        .failures = failures,
    };
}

static bool save_seat(const struct seat *seat, struct upgrade_generation *to)
{
    struct upgrade_process *grown = upgrade_state_grow(to->processes, &to->n_processes, sizeof(*grown));

    if (!grown)
        return false;
    to->processes = grown;
    grown[to->n_processes - 1] = process_values(&seat->process, seat->failures);
    return true;
}

/* The caller frees it; NULL without memory. */
static char *conf_text(const struct conf *conf)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    conf_show(conf, CONF_WHOLE, out);
    return text_close(out, &text);
}

static bool save_generation(const struct generation *g, struct upgrade_state *s)
{
    struct upgrade_generation *grown = upgrade_state_grow(s->generations, &s->n_generations, sizeof(*grown));

    if (!grown)
        return false;
    s->generations = grown;
    struct upgrade_generation *to = &grown[s->n_generations - 1];
    *to = (struct upgrade_generation){
        .number = g->number,
        .state = (int64_t)g->state,
        .since = g->since,
        .end_due_ms = g->end_timer.place ? (int64_t)g->end_timer.due_ms : 0,
        .n_workers = (int64_t)g->n_workers,
        .inbox_fd = g->inboxes[HANDOVER_TO_ANY].read_fd,
        .has_spawner = g->has_spawner,
        .conf = conf_text(g->conf),
    };
    bool ok = to->conf && save_uses(g, to) && save_shelved(g, to);
    for (size_t i = 0; ok && i < generation_seats(g); i++)
        ok = save_seat(&g->seats[i], to) && save_trouble(g, &g->seats[i], to);
    return ok;
}

/* LAYOUT may be NULL, without memory. */
static bool save_pages(int fd, const char *layout, struct upgrade_state *s)
{
    struct upgrade_stats *grown = layout ? upgrade_state_grow(s->stats, &s->n_stats, sizeof(*grown)) : NULL;
    bool ok = true;

    if (!grown)
        return false;
    s->stats = grown;
    grown[s->n_stats - 1] = (struct upgrade_stats){ .fd = fd, .layout = copy(layout, &ok) };
    return ok;
}

static bool save_stats(const struct stats *stats, struct upgrade_state *s)
{
    char *mine = stats_layout();
    bool ok = save_pages(stats_fd(stats), mine, s);

    free(mine);
    for (size_t i = 0; ok && i < stats_pasts(stats); i++) {
        const char *layout;
        int fd = stats_past_of(stats, i, &layout);
        ok = save_pages(fd, layout, s);
    }
    return ok;
}

static bool save_slots(const struct stats *stats, struct upgrade_state *s)
{
    bool ok = true;

    for (int slot = 0; slot < CONF_SERVICES_MAX; slot++) {
        const char *name = stats_slot_name(stats, slot);
        struct upgrade_slot *grown =
            name ? upgrade_state_grow(s->slots, &s->n_slots, sizeof(*grown)) : s->slots;

        if (!name)
            continue;
        if (!grown)
            return false;
        s->slots = grown;
        grown[s->n_slots - 1] = (struct upgrade_slot){ .slot = slot, .name = copy(name, &ok) };
    }
    return ok;
}

static bool save_descriptor(int fd, int64_t **fds, size_t *n)
{
    int64_t *grown = upgrade_state_grow(*fds, n, sizeof(*grown));

    if (!grown)
        return false;
    *fds = grown;
    grown[*n - 1] = fd;
    return true;
}

static bool save_control(const struct upgrade *u, struct upgrade_state *s)
{
    const struct control *control = *u->parts.control;
    bool ok = true;

    if (!control)
        return true;
    struct sockfile_id file = control_file(control);
    s->control_fd = control_fd(control);
    s->control_dev = (int64_t)file.dev;
    s->control_ino = (int64_t)file.ino;
    s->control_path = copy(control_path(control), &ok);
    list_for_each (it, &u->waiters)
        ok &= save_descriptor(control_client_fd(container_of(it, struct upgrade_waiter, link)->client),
                              &s->clients, &s->n_clients);
    return ok;
}

static bool save_rest(const struct upgrade *u, struct upgrade_state *s)
{
    const struct generations *all = u->parts.generations;
    const struct reload *reload = u->parts.reload;
    uint64_t key[2];
    bool ok = true;

    addr_source_save(key);
    s->version = copy(SOCKD_VERSION, &ok);
    s->began_ms = (int64_t)u->began_ms;
    s->secret[0] = (int64_t)key[0];
    s->secret[1] = (int64_t)key[1];
    s->last_number = all->last_number;
    s->told_descriptors = all->told_descriptors;
    s->log_level = all->log_level;
    s->soft_descriptors = (int64_t)all->soft_descriptors;
    s->reloads_ok = (int64_t)reload->n_ok;
    s->reloads_failed = (int64_t)reload->n_failed;
    s->reload_was_ok = reload->last_ok;
    s->reload_time = reload->last_time;
    s->reload_message = copy(reload->last_message, &ok);
    return ok;
}

static bool save_names(char *const *names, size_t n, char ***ret, size_t *ret_n)
{
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        char **grown = upgrade_state_grow(*ret, ret_n, sizeof(*grown));
        if (!grown)
            return false;
        *ret = grown;
        grown[*ret_n - 1] = copy(names[i], &ok);
    }
    return ok;
}

static bool save_exporter(const struct exporter_seat *seat, struct upgrade_state *s)
{
    bool ok = true;

    s->exporter = process_values(&seat->process, seat->failures);
    for (size_t i = 0; ok && i < seat->serving.len; i++)
        ok = save_descriptor(seat->serving.item[i]->fd, &s->doors, &s->n_doors);
    return ok;
}

int upgrade_save(const struct upgrade *u, struct upgrade_state *ret)
{
    const struct generations *all = u->parts.generations;
    const struct store *store = u->parts.store;
    struct upgrade_state state;

    upgrade_state_init(&state);
    bool ok = save_rest(u, &state) && save_control(u, &state) && save_listeners(all->listeners, &state) &&
              save_stats(all->stats, &state) && save_slots(all->stats, &state) &&
              save_names(all->drained, all->n_drained, &state.drained, &state.n_drained) &&
              save_names(store->removals, store->n_removals, &state.unstored, &state.n_unstored) &&
              save_exporter(u->parts.exporter, &state);
    list_for_each (it, &all->all)
        ok = ok && save_generation(container_of(it, struct generation, link), &state);
    if (!ok) {
        upgrade_state_done(&state);
        return -ENOMEM;
    }
    *ret = state;
    return 0;
}
