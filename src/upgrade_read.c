/*
 * The state as lines of words with single spaces. A text is one word: "-" for none, else a colon and its
 * bytes, with all but visible ASCII, and the percent sign, as %XX.
 */
#include "upgrade_state.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 12
#define FD_MAX    (1 << 24)

/* One line that is being read. */
struct reading {
    struct upgrade_state *state;
    char *word[WORDS_MAX];
    size_t n, at;
    bool bad;
};

static int64_t number(struct reading *r, int64_t lo, int64_t hi)
{
    int64_t value = lo;

    if (r->at >= r->n || text_parse_int(r->word[r->at++], lo, hi, &value) < 0)
        r->bad = true;
    return value;
}

static int64_t any(struct reading *r)
{
    return number(r, INT64_MIN, INT64_MAX);
}

static int64_t positive(struct reading *r)
{
    return number(r, 0, INT64_MAX);
}

/* Of what was open before, or -1. */
static int64_t descriptor(struct reading *r, bool may_lack)
{
    int64_t fd = number(r, may_lack ? -1 : 3, FD_MAX);

    if (fd >= 0 && fd < 3)
        r->bad = true;
    return fd;
}

static bool flag(struct reading *r)
{
    return number(r, 0, 1) == 1;
}

static int digit(char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* NULL for none; the caller frees it. A NUL inside is none of ours. */
static char *text(struct reading *r)
{
    const char *word = r->at < r->n ? r->word[r->at++] : "";
    char *copy = NULL, *to;

    if (strcmp(word, "-") == 0)
        return NULL;
    to = copy = word[0] == ':' ? malloc(strlen(word)) : NULL;
    if (!copy) {
        r->bad = true;
        return NULL;
    }
    for (word++; *word; word++) {
        if (*word != '%') {
            *to++ = *word;
            continue;
        }
        int high = digit(word[1]), low = high < 0 ? -1 : digit(word[2]);
        if (low < 0 || high * 16 + low == 0) {
            r->bad = true;
            break;
        }
        *to++ = (char)(high * 16 + low);
        word += 2;
    }
    *to = '\0';
    return copy;
}

/* A text that must be there; a second one takes the place of the first. */
static void set_text(struct reading *r, char **text_at, bool may_lack)
{
    free(*text_at);
    *text_at = text(r);
    if (!*text_at && !may_lack)
        r->bad = true;
}

static void read_version(struct reading *r)
{
    set_text(r, &r->state->version, false);
}

static void read_began(struct reading *r)
{
    r->state->began_ms = positive(r);
}

static void read_secret(struct reading *r)
{
    r->state->secret[0] = any(r);
    r->state->secret[1] = any(r);
}

static void read_control(struct reading *r)
{
    struct upgrade_state *s = r->state;

    s->control_fd = descriptor(r, true);
    s->control_dev = any(r);
    s->control_ino = any(r);
    set_text(r, &s->control_path, s->control_fd < 0);
}

static void read_descriptor(struct reading *r, int64_t **fds, size_t *n)
{
    int64_t fd = descriptor(r, false), *grown = upgrade_state_grow(*fds, n, sizeof(fd));

    if (grown) {
        *fds = grown;
        grown[*n - 1] = fd;
    }
    r->bad |= !grown;
}

static void read_client(struct reading *r)
{
    read_descriptor(r, &r->state->clients, &r->state->n_clients);
}

static void read_door(struct reading *r)
{
    read_descriptor(r, &r->state->doors, &r->state->n_doors);
}

static void read_listener(struct reading *r)
{
    struct upgrade_state *s = r->state;
    struct upgrade_listener *grown = upgrade_state_grow(s->listeners, &s->n_listeners, sizeof(*grown));

    if (!grown) {
        r->bad = true;
        return;
    }
    s->listeners = grown;
    struct upgrade_listener *l = &grown[s->n_listeners - 1];
    l->fd = descriptor(r, false);
    l->store = number(r, 0, 2);
    l->dev = any(r);
    l->ino = any(r);
    l->path = text(r);
    l->inherited = text(r);
    l->store_name = text(r);
}

static void read_stats(struct reading *r)
{
    struct upgrade_state *s = r->state;
    struct upgrade_stats *grown = upgrade_state_grow(s->stats, &s->n_stats, sizeof(*grown));

    if (!grown) {
        r->bad = true;
        return;
    }
    s->stats = grown;
    grown[s->n_stats - 1].fd = descriptor(r, false);
    set_text(r, &grown[s->n_stats - 1].layout, false);
}

static void read_slot(struct reading *r)
{
    struct upgrade_state *s = r->state;
    struct upgrade_slot *grown = upgrade_state_grow(s->slots, &s->n_slots, sizeof(*grown));

    if (!grown) {
        r->bad = true;
        return;
    }
    s->slots = grown;
    grown[s->n_slots - 1].slot = number(r, 0, INT32_MAX);
    set_text(r, &grown[s->n_slots - 1].name, false);
}

static void read_generations(struct reading *r)
{
    r->state->last_number = number(r, 0, UINT32_MAX);
    r->state->told_descriptors = flag(r);
    r->state->soft_descriptors = positive(r);
    r->state->log_level = number(r, -1, 7);
}

static void read_name(struct reading *r, char ***names, size_t *n)
{
    char **grown = upgrade_state_grow(*names, n, sizeof(*grown));

    if (!grown) {
        r->bad = true;
        return;
    }
    *names = grown;
    set_text(r, &grown[*n - 1], false);
}

static void read_drained(struct reading *r)
{
    read_name(r, &r->state->drained, &r->state->n_drained);
}

static void read_unstored(struct reading *r)
{
    read_name(r, &r->state->unstored, &r->state->n_unstored);
}

static void read_reload(struct reading *r)
{
    struct upgrade_state *s = r->state;

    s->reloads_ok = positive(r);
    s->reloads_failed = positive(r);
    s->reload_was_ok = flag(r);
    s->reload_time = any(r);
    set_text(r, &s->reload_message, true);
}

static void read_generation(struct reading *r)
{
    struct upgrade_state *s = r->state;
    struct upgrade_generation *grown = upgrade_state_grow(s->generations, &s->n_generations, sizeof(*grown));

    if (!grown) {
        r->bad = true;
        return;
    }
    s->generations = grown;
    struct upgrade_generation *g = &grown[s->n_generations - 1];
    g->number = number(r, 1, UINT32_MAX);
    g->state = number(r, 0, 3);
    g->since = any(r);
    g->end_due_ms = positive(r);
    g->n_workers = number(r, 1, 4096);
    g->has_spawner = flag(r);
    g->inbox_fd = descriptor(r, true);
    set_text(r, &g->conf, false);
}

/* The one whose lines these are. */
static struct upgrade_generation *last_generation(struct reading *r)
{
    struct upgrade_state *s = r->state;

    if (s->n_generations > 0)
        return &s->generations[s->n_generations - 1];
    r->bad = true;
    return NULL;
}

static int64_t place(struct reading *r, const struct upgrade_generation *g)
{
    return number(r, g->has_spawner ? 0 : 1, g->n_workers);
}

static void read_use(struct reading *r)
{
    struct upgrade_generation *g = last_generation(r);
    struct upgrade_use *grown = g ? upgrade_state_grow(g->uses, &g->n_uses, sizeof(*grown)) : NULL;

    if (!grown) {
        r->bad = true;
        return;
    }
    g->uses = grown;
    grown[g->n_uses - 1].listener = number(r, 0, (int64_t)r->state->n_listeners - 1);
    grown[g->n_uses - 1].service = positive(r);
}

static void read_process_words(struct reading *r, struct upgrade_process *p)
{
    p->pid = number(r, 0, INT32_MAX);
    p->pidfd = descriptor(r, p->pid == 0);
    p->channel_fd = descriptor(r, true);
    p->page = number(r, -1, INT32_MAX);
    p->ready = flag(r);
    p->left = flag(r);
    p->aborted = flag(r);
    p->started_ms = positive(r);
    p->failures = number(r, 0, INT32_MAX);
}

static void read_process(struct reading *r)
{
    struct upgrade_generation *g = last_generation(r);
    struct upgrade_process *grown =
        g ? upgrade_state_grow(g->processes, &g->n_processes, sizeof(*grown)) : NULL;

    if (!grown) {
        r->bad = true;
        return;
    }
    g->processes = grown;
    struct upgrade_process *p = &grown[g->n_processes - 1];
    p->place = place(r, g);
    for (size_t i = 0; i + 1 < g->n_processes; i++)
        r->bad |= grown[i].place == p->place;
    read_process_words(r, p);
}

static void read_exporter(struct reading *r)
{
    read_process_words(r, &r->state->exporter);
}

static void read_trouble(struct reading *r)
{
    struct upgrade_generation *g = last_generation(r);
    struct upgrade_trouble *grown =
        g ? upgrade_state_grow(g->troubles, &g->n_troubles, sizeof(*grown)) : NULL;

    if (!grown) {
        r->bad = true;
        return;
    }
    g->troubles = grown;
    grown[g->n_troubles - 1].place = place(r, g);
    grown[g->n_troubles - 1].service = positive(r);
    set_text(r, &grown[g->n_troubles - 1].why, false);
}

static void read_shelved(struct reading *r)
{
    struct upgrade_generation *g = last_generation(r);
    struct upgrade_shelved *grown = g ? upgrade_state_grow(g->shelved, &g->n_shelved, sizeof(*grown)) : NULL;

    if (!grown) {
        r->bad = true;
        return;
    }
    g->shelved = grown;
    grown[g->n_shelved - 1].service = positive(r);
    set_text(r, &grown[g->n_shelved - 1].why, false);
}

static const struct line_row {
    const char *key;
    void (*read)(struct reading *r);
} line_rows[] = {
    { "version", read_version },       { "began", read_began },     { "secret", read_secret },
    { "control", read_control },       { "client", read_client },   { "listener", read_listener },
    { "stats", read_stats },           { "slot", read_slot },       { "generations", read_generations },
    { "reload", read_reload },         { "drained", read_drained }, { "use", read_use },
    { "generation", read_generation }, { "process", read_process }, { "trouble", read_trouble },
    { "exporter", read_exporter },     { "door", read_door },       { "unstored", read_unstored },
    { "shelved", read_shelved },
};

/* False when it is none. */
static bool read_line(struct upgrade_state *state, char *line)
{
    struct reading r = { .state = state };
    char *rest = line;

    while (rest && r.n < WORDS_MAX)
        r.word[r.n++] = strsep(&rest, " ");
    if (rest)
        return false;
    for (size_t i = 0; i < sizeof(line_rows) / sizeof(line_rows[0]); i++) {
        if (strcmp(line_rows[i].key, r.word[0]) != 0)
            continue;
        r.at = 1;
        line_rows[i].read(&r);
        return !r.bad && r.at == r.n;
    }
    return false;
}

static int check_first_line(const char *line, char why[UPGRADE_WHY_MAX])
{
    int64_t version;

    if (strncmp(line, UPGRADE_STATE_FIRST " ", strlen(UPGRADE_STATE_FIRST) + 1) != 0 ||
        text_parse_int(line + strlen(UPGRADE_STATE_FIRST) + 1, 0, INT32_MAX, &version) < 0) {
        snprintf(why, UPGRADE_WHY_MAX, "what was handed over is no state of sockd");
        return -EINVAL;
    }
    if (version == UPGRADE_STATE_VERSION)
        return 0;
    snprintf(why, UPGRADE_WHY_MAX, "the state has version %d, and sockd " SOCKD_VERSION " knows only %d",
             (int)version, UPGRADE_STATE_VERSION);
    return -EINVAL;
}

static int read_lines(char *lines, struct upgrade_state *state, char why[UPGRADE_WHY_MAX])
{
    char *rest = lines, *line = strsep(&rest, "\n");
    int r = check_first_line(line, why);

    for (unsigned n = 2; r == 0 && (line = strsep(&rest, "\n")); n++) {
        if (!rest && *line == '\0')
            break; /* behind the last LF */
        if (rest && read_line(state, line))
            continue;
        snprintf(why, UPGRADE_WHY_MAX, "line %u of the state means nothing to sockd " SOCKD_VERSION, n);
        r = -EINVAL;
    }
    if (r == 0 && (!state->version || state->n_stats == 0 || state->n_generations == 0)) {
        snprintf(why, UPGRADE_WHY_MAX, "the state is not whole");
        r = -EINVAL;
    }
    return r;
}

int upgrade_state_read(char *lines, size_t len, struct upgrade_state *ret, char why[UPGRADE_WHY_MAX])
{
    struct upgrade_state state;
    int r = -EINVAL;

    upgrade_state_init(&state);
    if (strlen(lines) != len)
        snprintf(why, UPGRADE_WHY_MAX, "what was handed over is no state of sockd");
    else
        r = read_lines(lines, &state, why);
    if (r < 0)
        upgrade_state_done(&state);
    else
        *ret = state;
    return r;
}
