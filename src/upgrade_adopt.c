/*
 * The new program's side of an upgrade: what the old one left becomes listeners, generations, processes and
 * clients of this one. Runs in a master that has nothing yet. What fails here ends the process; the check,
 * which the old program asked for, makes that unlikely.
 */
#include "upgrade.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "complaints.h"
#include "log_ids.h"
#include "seat.h"
#include "succession.h"
#include "trial.h"
#include "trouble.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* So old what is copied from pages of old processes may be, for those who sum up limits. */
#define REFRESH_MS 100

/* Of a state. */
#define TEXT_LIMIT ((size_t)256 << 20)

static void hold_back(int fd, void *owner)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        *(int *)owner = -errno;
}

/* 0 or -errno. The caller frees *RET. */
static int read_all(int fd, char **ret, size_t *ret_len)
{
    struct stat st;
    size_t len = 0;
    ssize_t n = 1;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size > TEXT_LIMIT)
        return -EINVAL;
    char *text = malloc((size_t)st.st_size + 1);
    if (!text)
        return -ENOMEM;
    while (len < (size_t)st.st_size && (n = pread(fd, text + len, (size_t)st.st_size - len, (off_t)len)) > 0)
        len += (size_t)n;
    if (n < 0) {
        int r = -errno;
        free(text);
        return r;
    }
    text[len] = '\0';
    *ret = text;
    *ret_len = len;
    return 0;
}

static int read_state(int fd, struct upgrade_state *ret, char why[UPGRADE_WHY_MAX])
{
    char *text = NULL;
    size_t len = 0;

    int r = read_all(fd, &text, &len);
    if (r < 0) {
        snprintf(why, UPGRADE_WHY_MAX, "the state cannot be read: %s", strerror(-r));
        return r;
    }
    r = upgrade_state_read(text, len, ret, why);
    free(text);
    return r;
}

int upgrade_load(int fd, struct upgrade_state *ret, char why[UPGRADE_WHY_MAX])
{
    int r = read_state(fd, ret, why), held = 0;

    close(fd);
    if (r < 0)
        return r;
    upgrade_state_each_fd(ret, hold_back, &held);
    if (held < 0) {
        snprintf(why, UPGRADE_WHY_MAX, "a descriptor of the state is not open: %s", strerror(-held));
        upgrade_state_done(ret);
    }
    return held;
}

static void print_fatal(const struct complaints *c, const char *of)
{
    for (const struct complaint *it = c->first; it; it = it->next)
        if (complaint_is_fatal(it))
            printf("%s%s\n", of, it->text);
}

/* As load_conf() below will find them. */
static int check_generation(const struct upgrade_generation *g)
{
    struct complaints complaints;
    struct conf *conf = NULL;
    char of[64];

    complaints_init(&complaints);
    int r = conf_load_text("state", g->conf, strlen(g->conf), &complaints, &conf);
    snprintf(of, sizeof(of), "of generation %u: ", (unsigned)g->number);
    print_fatal(&complaints, of);
    complaints_done(&complaints);
    for (size_t i = 0; r == 0 && i < g->n_uses; i++)
        if (g->uses[i].service >= (int64_t)conf->n_services)
            r = -EINVAL;
    conf_unref(conf);
    return r;
}

static int check_file(const char *file)
{
    struct complaints complaints;
    struct conf *conf = NULL;

    complaints_init(&complaints);
    int r = conf_load(file, &complaints, &conf);
    print_fatal(&complaints, "");
    complaints_done(&complaints);
    conf_unref(conf);
    return r;
}

int upgrade_check(int fd, const char *file)
{
    struct upgrade_state state;
    char why[UPGRADE_WHY_MAX];

    if (read_state(fd, &state, why) < 0) {
        puts(why);
        return EX_DATAERR;
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < state.n_generations; i++)
        r = check_generation(&state.generations[i]);
    if (r == 0)
        r = check_file(file);
    upgrade_state_done(&state);
    if (r == 0)
        puts("sockd " SOCKD_VERSION " takes over");
    return r < 0 ? EX_CONFIG : 0;
}

int upgrade_adopt_stats(const struct upgrade_state *state, struct stats **ret)
{
    int fd = (int)state->stats[0].fd, r = stats_adopt(fd, state->stats[0].layout, ret);

    if (r == -ENOTSUP) {
        log_event(LOG_WARNING, LOG_ID_UPGRADED, "cannot read the counters of sockd %s; they begin anew",
                  state->version);
        fd_close(&fd);
        r = stats_create(ret);
    }
    for (size_t i = 1; r == 0 && i < state->n_stats; i++) {
        fd = (int)state->stats[i].fd;
        if (stats_adopt_past(*ret, fd, state->stats[i].layout) < 0)
            fd_close(&fd); /* what the last program saw there remains */
    }
    for (size_t i = 0; r == 0 && i < state->n_slots; i++)
        r = stats_adopt_slot(*ret, (int)state->slots[i].slot, state->slots[i].name);
    return r;
}

static void on_refresh(struct loop_timer *timer)
{
    struct upgrade *u = container_of(timer, struct upgrade, refresh);
    struct loop *loop = u->parts.generations->loop;

    if (stats_refresh(u->parts.generations->stats))
        loop_timer_set(loop, &u->refresh, loop_now(loop) + REFRESH_MS, on_refresh);
}

static int adopt_listeners(struct listeners *ls, const struct upgrade_state *s, struct listener **ret)
{
    for (size_t i = 0; i < s->n_listeners; i++) {
        const struct upgrade_listener *l = &s->listeners[i];

        ret[i] = listen_adopt(ls, (int)l->fd, l->path, l->inherited, l->store_name);
        if (!ret[i])
            return -EBADF;
        ret[i]->id = (struct sockfile_id){ .dev = (dev_t)l->dev, .ino = (ino_t)l->ino };
        ret[i]->store = (enum listen_store)l->store;
    }
    return 0;
}

static int adopt_uses(struct generation *g, const struct upgrade_generation *from, struct listener **all)
{
    struct listen_set *set = &g->listeners;

    set->item = calloc(from->n_uses + 1, sizeof(struct listener *));
    set->service = calloc(from->n_uses + 1, sizeof(struct service *));
    if (!set->item || !set->service)
        return -ENOMEM;
    for (; set->len < from->n_uses; set->len++) {
        const struct upgrade_use *use = &from->uses[set->len];

        if (use->service >= (int64_t)g->conf->n_services)
            return -EINVAL;
        set->item[set->len] = all[use->listener];
        set->service[set->len] = &g->conf->services[use->service];
        all[use->listener]->refs++;
    }
    return 0;
}

static struct seat *seat_of(struct generation *g, int64_t place)
{
    return &g->seats[place == PROCESS_SPAWNER ? g->n_workers : (size_t)place - 1];
}

/* -1: its counters are lost. */
static int page_of(const struct stats *stats, int64_t page)
{
    return page >= 0 && page < stats_pages_end(stats) && stats_page(stats, (int)page) ? (int)page : -1;
}

static struct process process_of(const struct stats *stats, const struct upgrade_process *from)
{
    return (struct process){
        .pid = (pid_t)from->pid,
        .pidfd = (int)from->pidfd,
        .channel_fd = (int)from->channel_fd,
        .page = page_of(stats, from->page),
        .ready = from->ready,
        .left = from->left,
        .aborted = from->aborted,
        .started_ms = (uint64_t)from->started_ms,
    };
}

static int adopt_process(struct generation *g, const struct upgrade_process *from)
{
    struct seat *seat = seat_of(g, from->place);
    struct process kept = process_of(g->all->stats, from);

    seat->failures = (unsigned)from->failures;
    seat->failing_since_ms = loop_now(g->all->loop); /* as far as we know */
    if (from->pid > 0)
        return process_adopt(&seat->process, &kept);
    if (generation_wants(seat)) /* the workers are known before the spawner */
        seat_start_later(seat);
    return 0;
}

static int load_conf(const struct upgrade_generation *from, struct conf **ret)
{
    struct complaints complaints;

    complaints_init(&complaints);
    int r = conf_load_text("state", from->conf, strlen(from->conf), &complaints, ret);
    complaints_done(&complaints);
    return r;
}

static int fill_generation(struct generation *g, const struct upgrade_generation *from,
                           struct listener **listeners)
{
    int r = load_conf(from, &g->conf);
    if (r == 0)
        r = generation_note_drained(g);
    if (r == 0)
        r = generation_take_slots(g);
    if (r == 0)
        r = generation_make_seats(g, (size_t)from->n_workers, from->has_spawner);
    if (r == 0)
        r = adopt_uses(g, from, listeners);
    for (size_t i = 0; r == 0 && i < from->n_processes; i++)
        r = adopt_process(g, &from->processes[i]);
    for (size_t i = 0; r == 0 && i < from->n_troubles; i++) {
        const struct upgrade_trouble *t = &from->troubles[i];
        trouble_tell(seat_of(g, t->place), (uint32_t)t->service, t->why);
    }
    for (size_t i = 0; r == 0 && i < from->n_shelved && !generation_is_leaving(g); i++)
        if (from->shelved[i].service < (int64_t)g->conf->n_services)
            trial_shelve(g, (size_t)from->shelved[i].service, from->shelved[i].why);
    return r;
}

static int adopt_generation(struct generations *all, const struct upgrade_generation *from,
                            struct listener **listeners)
{
    struct generation *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    g->all = all;
    g->number = (unsigned)from->number;
    g->state = (enum generation_state)from->state;
    g->since = (time_t)from->since;
    g->started_ms = loop_now(all->loop);
    succession_init(g);
    g->inboxes[HANDOVER_TO_ANY].read_fd = (int)from->inbox_fd;
    g->workers_started = true;
    list_init(&g->link);
    list_append(&all->all, &g->link);
    int r = fill_generation(g, from, listeners);
    if (r < 0)
        return r;
    if (from->end_due_ms > 0)
        generation_end_at(g, (uint64_t)from->end_due_ms);
    if (g->state == GENERATION_SERVING)
        all->serving = g;
    generation_check_empty(g);
    return 0;
}

static int adopt_generations(struct generations *all, const struct upgrade_state *s,
                             struct listener **listeners)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n_drained; i++)
        r = generations_set_drained(all, s->drained[i], true);
    all->log_level = (int)s->log_level;
    all->last_number = (unsigned)s->last_number;
    all->told_descriptors = s->told_descriptors;
    all->soft_descriptors = (size_t)s->soft_descriptors;
    for (size_t i = 0; r == 0 && i < s->n_generations; i++)
        r = adopt_generation(all, &s->generations[i], listeners);
    return r == 0 && !all->serving ? -EINVAL : r;
}

/* The daemon serves without it too. */
static void adopt_control(struct upgrade *u, const struct upgrade_state *s, control_fn *on_command,
                          void *owner)
{
    struct sockfile_id file = { .dev = (dev_t)s->control_dev, .ino = (ino_t)s->control_ino };

    if (s->control_fd < 0)
        return;
    int r = control_adopt(u->parts.generations->loop, (int)s->control_fd, s->control_path, file, on_command,
                          owner, u->parts.control);
    if (r < 0) {
        log_event(LOG_WARNING, LOG_ID_NO_CONTROL, "no control socket %s: %s", s->control_path, strerror(-r));
        return;
    }
    for (size_t i = 0; i < s->n_clients; i++) {
        struct control_client *client = control_adopt_client(*u->parts.control, (int)s->clients[i]);
        if (client)
            upgrade_add_waiter(u, client);
    }
}

static int adopt_exporter(struct exporter_seat *seat, const struct stats *stats,
                          const struct upgrade_state *s)
{
    struct process kept = process_of(stats, &s->exporter);
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n_doors; i++)
        r = exporter_seat_adopt_door(seat, (int)s->doors[i]);
    if (r == 0)
        r = exporter_seat_adopt(seat, &kept);
    return r;
}

/* Without memory the service manager keeps them for longer than it must. */
static void adopt_store(struct store *store, const struct upgrade_state *s)
{
    for (size_t i = 0; i < s->n_unstored; i++)
        store_remove(store, s->unstored[i]);
}

static void adopt_reload(struct reload *reload, const struct upgrade_state *s)
{
    reload->n_ok = (uint64_t)s->reloads_ok;
    reload->n_failed = (uint64_t)s->reloads_failed;
    reload->last_ok = s->reload_was_ok;
    reload->last_time = (time_t)s->reload_time;
    reload->last_message = s->reload_message ? strdup(s->reload_message) : NULL;
}

int upgrade_adopt(struct upgrade *u, const struct upgrade_state *s, control_fn *on_command, void *owner)
{
    struct generations *all = u->parts.generations;
    struct listener **listeners = calloc(s->n_listeners + 1, sizeof(struct listener *));

    if (!listeners)
        return -ENOMEM;
    addr_source_adopt((const uint64_t[]){ (uint64_t)s->secret[0], (uint64_t)s->secret[1] });
    int r = adopt_listeners(all->listeners, s, listeners);
    if (r == 0)
        r = adopt_generations(all, s, listeners);
    free(listeners);
    if (r == 0)
        r = adopt_exporter(u->parts.exporter, all->stats, s);
    if (r < 0)
        return r;
    adopt_store(u->parts.store, s);
    on_refresh(&u->refresh);
    adopt_control(u, s, on_command, owner);
    adopt_reload(u->parts.reload, s);
    u->from = strdup(s->version);
    u->from_number = all->serving->number;
    u->began_ms = (uint64_t)s->began_ms;
    return u->from ? 0 : -ENOMEM;
}

static void on_reload_waits(struct reload_asker *asker, const char *text)
{
    upgrade_note(container_of(asker, struct upgrade, asker), text);
}

static void on_reloaded(struct reload_asker *asker, bool ok, const char *text)
{
    struct upgrade *u = container_of(asker, struct upgrade, asker);
    const struct generations *all = u->parts.generations;
    char took[TEXT_NUMBER_MAX], *message = NULL;
    int n;

    u->running = false;
    text_print_duration(took, loop_now(all->loop) - u->began_ms);
    if (ok)
        n = asprintf(&message, "upgraded: %s -> " SOCKD_VERSION ", generation %u -> %u (%s)\n", u->from,
                     u->from_number, all->serving->number, took);
    else
        n = asprintf(&message, "upgraded: %s -> " SOCKD_VERSION ", but the new generation did not start\n%s",
                     u->from, text);
    if (n < 0)
        message = NULL;
    if (message)
        log_event(ok ? LOG_NOTICE : LOG_ERR, ok ? LOG_ID_UPGRADED : LOG_ID_UPGRADE_FAILED, "%.*s",
                  (int)strcspn(message, "\n"), message);
    upgrade_answer(u, ok, message ? message : text);
    free(message);
}

void upgrade_go_on(struct upgrade *u)
{
    u->running = true;
    u->asker.on_wait = on_reload_waits;
    u->asker.on_done = on_reloaded;
    reload_ask(u->parts.reload, &u->asker);
}

/* One that is named without a slash was found in PATH. */
static char *search_path(const char *name)
{
    const char *path = getenv("PATH");

    while (path && *path) {
        size_t len = strcspn(path, ":");
        char *file = NULL;

        if (path[0] == '/' && asprintf(&file, "%.*s/%s", (int)len, path, name) < 0)
            return NULL;
        if (file && access(file, X_OK) == 0)
            return file;
        free(file);
        path += len + (path[len] == ':');
    }
    return NULL;
}

static char *absolute(const char *argv0)
{
    char *directory, *path = NULL;

    if (argv0[0] == '/')
        return strdup(argv0);
    if (!strchr(argv0, '/'))
        return search_path(argv0);
    directory = getcwd(NULL, 0);
    if (directory && asprintf(&path, "%s/%s", directory, argv0) < 0)
        path = NULL;
    free(directory);
    return path;
}

char *upgrade_find_program(const char *argv0, bool is_upgrade)
{
    char *path = argv0 ? absolute(argv0) : NULL, real[PATH_MAX];
    struct stat mine, its;

    /* The file may have been replaced since the old program named it. */
    if (path && is_upgrade)
        return path;
    if (path && stat("/proc/self/exe", &mine) == 0 && stat(path, &its) == 0 && mine.st_dev == its.st_dev &&
        mine.st_ino == its.st_ino)
        return path;
    free(path);
    ssize_t n = readlink("/proc/self/exe", real, sizeof(real) - 1);
    if (n < 0)
        return NULL;
    real[n] = '\0';
    return strdup(real);
}
