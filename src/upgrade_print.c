/* The state of a master as text: the other half of upgrade_read.c, which says what a word is. */
#include "upgrade_state.h"

static void print_text(FILE *out, const char *text)
{
    if (!text) {
        fputs(" -", out);
        return;
    }
    fputs(" :", out);
    for (; *text; text++)
        if (*text > ' ' && *text <= '~' && *text != '%')
            fputc(*text, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*text);
}

static void print_numbers(FILE *out, const char *key, const int64_t *numbers, size_t n)
{
    fputs(key, out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, " %lld", (long long)numbers[i]);
}
#define PRINT_NUMBERS(out, key, ...)                              \
    print_numbers((out), (key), (const int64_t[]){ __VA_ARGS__ }, \
                  sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static void print_process(const struct upgrade_process *p, FILE *out)
{
    PRINT_NUMBERS(out, "", p->pid, p->pidfd, p->channel_fd, p->page, p->ready, p->left, p->aborted,
                  p->started_ms, p->failures);
    fputc('\n', out);
}

static void print_generation(const struct upgrade_generation *g, FILE *out)
{
    PRINT_NUMBERS(out, "generation", g->number, g->state, g->since, g->end_due_ms, g->n_workers,
                  g->has_spawner, g->inbox_fd);
    print_text(out, g->conf);
    fputc('\n', out);
    for (size_t i = 0; i < g->n_uses; i++) {
        PRINT_NUMBERS(out, "use", g->uses[i].listener, g->uses[i].service);
        fputc('\n', out);
    }
    for (size_t i = 0; i < g->n_processes; i++) {
        PRINT_NUMBERS(out, "process", g->processes[i].place);
        print_process(&g->processes[i], out);
    }
    for (size_t i = 0; i < g->n_troubles; i++) {
        PRINT_NUMBERS(out, "trouble", g->troubles[i].place, g->troubles[i].service);
        print_text(out, g->troubles[i].why);
        fputc('\n', out);
    }
    for (size_t i = 0; i < g->n_shelved; i++) {
        PRINT_NUMBERS(out, "shelved", g->shelved[i].service);
        print_text(out, g->shelved[i].why);
        fputc('\n', out);
    }
}

static void print_sockets(const struct upgrade_state *s, FILE *out)
{
    PRINT_NUMBERS(out, "control", s->control_fd, s->control_dev, s->control_ino);
    print_text(out, s->control_path);
    for (size_t i = 0; i < s->n_clients; i++)
        PRINT_NUMBERS(out, "\nclient", s->clients[i]);
    for (size_t i = 0; i < s->n_listeners; i++) {
        const struct upgrade_listener *l = &s->listeners[i];
        PRINT_NUMBERS(out, "\nlistener", l->fd, l->store, l->dev, l->ino);
        print_text(out, l->path);
        print_text(out, l->inherited);
        print_text(out, l->store_name);
    }
    for (size_t i = 0; i < s->n_doors; i++)
        PRINT_NUMBERS(out, "\ndoor", s->doors[i]);
    fputc('\n', out);
}

static void print_stats(const struct upgrade_state *s, FILE *out)
{
    for (size_t i = 0; i < s->n_stats; i++) {
        PRINT_NUMBERS(out, "stats", s->stats[i].fd);
        print_text(out, s->stats[i].layout);
        fputc('\n', out);
    }
    for (size_t i = 0; i < s->n_slots; i++) {
        PRINT_NUMBERS(out, "slot", s->slots[i].slot);
        print_text(out, s->slots[i].name);
        fputc('\n', out);
    }
}

static void print_names(const char *key, char *const *names, size_t n, FILE *out)
{
    for (size_t i = 0; i < n; i++) {
        fputs(key, out);
        print_text(out, names[i]);
    }
}

void upgrade_state_print(const struct upgrade_state *s, FILE *out)
{
    fprintf(out, UPGRADE_STATE_FIRST " %d\nversion", UPGRADE_STATE_VERSION);
    print_text(out, s->version);
    PRINT_NUMBERS(out, "\nbegan", s->began_ms);
    PRINT_NUMBERS(out, "\nsecret", s->secret[0], s->secret[1]);
    fputc('\n', out);
    print_sockets(s, out);
    print_stats(s, out);
    if (s->exporter.pid > 0) {
        fputs("exporter", out);
        print_process(&s->exporter, out);
    }
    PRINT_NUMBERS(out, "generations", s->last_number, s->told_descriptors, s->soft_descriptors, s->log_level);
    print_names("\ndrained", s->drained, s->n_drained, out);
    print_names("\nunstored", s->unstored, s->n_unstored, out);
    PRINT_NUMBERS(out, "\nreload", s->reloads_ok, s->reloads_failed, s->reload_was_ok, s->reload_time);
    print_text(out, s->reload_message);
    fputc('\n', out);
    for (size_t i = 0; i < s->n_generations; i++)
        print_generation(&s->generations[i], out);
}
