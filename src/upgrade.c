/* Asking the new program, and becoming it; see upgrade.h. */
#include "upgrade.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the check may take, and then a reload that is under way. */
#define WITHIN_MS 10000
#define LOOK_MS   20

/* The words of a check that says yes end so; see upgrade_check(). */
#define YES " takes over\n"

void upgrade_init(struct upgrade *u, const struct upgrade_parts *parts)
{
    *u = (struct upgrade){ .parts = *parts, .pidfd = -1, .words_fd = -1, .words.fd = -1 };
    list_init(&u->waiters);
    list_init(&u->asker.link);
}

static struct loop *loop_of(const struct upgrade *u)
{
    return u->parts.generations->loop;
}

static void forget_check(struct upgrade *u)
{
    loop_remove(loop_of(u), &u->words);
    loop_timer_stop(loop_of(u), &u->timer);
    fd_close(&u->words_fd);
    fd_close(&u->pidfd);
    u->pid = 0;
}

void upgrade_done(struct upgrade *u)
{
    if (u->pid)
        spawn_end_now(u->pid);
    forget_check(u);
    loop_timer_stop(loop_of(u), &u->refresh);
    free(u->from);
    u->from = NULL;
}

static void on_waiter_gone(void *held)
{
    struct upgrade_waiter *waiter = held;

    list_remove(&waiter->link);
    free(waiter);
}

void upgrade_add_waiter(struct upgrade *u, struct control_client *client)
{
    struct upgrade_waiter *waiter = malloc(sizeof(*waiter));

    if (!waiter) {
        control_answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    *waiter = (struct upgrade_waiter){ .client = client };
    list_init(&waiter->link);
    list_append(&u->waiters, &waiter->link);
    control_hold(client, waiter, on_waiter_gone);
}

void upgrade_note(const struct upgrade *u, const char *text)
{
    list_for_each (it, &u->waiters)
        control_note(container_of(it, struct upgrade_waiter, link)->client, text);
}

void upgrade_answer(struct upgrade *u, bool ok, const char *text)
{
    list_for_each (it, &u->waiters) {
        struct upgrade_waiter *waiter = container_of(it, struct upgrade_waiter, link);
        struct control_client *client = waiter->client;

        list_remove(&waiter->link);
        free(waiter);
        control_answer(client, ok ? CONTROL_OK : CONTROL_NO, text);
    }
}

/* All goes on as it was. WHY may be lines of another program. */
static void refuse(struct upgrade *u, const char *why)
{
    char text[sizeof(u->said) + 80], safe[4 * sizeof(u->said)];
    size_t len = strlen(why);

    u->running = false;
    forget_check(u);
    while (len > 0 && why[len - 1] == '\n')
        len--;
    snprintf(text, sizeof(text), "no upgrade, sockd %s goes on: %.*s", SOCKD_VERSION, (int)len, why);
    text_make_safe(safe, sizeof(safe), text, strlen(text));
    log_event(LOG_ERR, LOG_ID_UPGRADE_FAILED, "%s", safe);
    strcat(text, "\n");
    upgrade_answer(u, false, text);
}

/* "/usr/sbin/sockd exited with status 1" */
static void refuse_program(struct upgrade *u, const char *between, const char *why)
{
    char text[sizeof(u->said)];

    snprintf(text, sizeof(text), "%.*s%s%s", (int)sizeof(text) / 2, u->parts.program.path, between, why);
    refuse(u, text);
}

/* NULL: it can be. */
static const char *obstacle(const struct upgrade *u)
{
    const struct generations *all = u->parts.generations;

    if (u->stopped)
        return "sockd is stopping";
    if (all->embedded)
        return "a single process has nobody to serve meanwhile";
    if (!u->parts.reload->file)
        return "the configuration is the command line";
    if (!u->parts.program.path)
        return "the program's path was not to be found at the start";
    return all->serving ? NULL : "sockd is still starting";
}

/* The state in a memfd, or -errno. *RET: the same as values. */
static int write_state(const struct upgrade *u, struct upgrade_state *ret)
{
    int r = upgrade_save(u, ret);
    if (r < 0)
        return r;
    int fd = memfd_create("sockd-upgrade", MFD_CLOEXEC);
    r = fd < 0 ? -errno : 0;
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    FILE *out = copy < 0 ? NULL : fdopen(copy, "w");
    if (out) {
        upgrade_state_print(ret, out);
        bool ok = !ferror(out);
        r = fclose(out) == 0 && ok ? 0 : -EIO;
    } else if (r == 0) {
        r = -errno;
        fd_close(&copy);
    }
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        return fd;
    fd_close(&fd);
    upgrade_state_done(ret);
    return r;
}

static void let_pass(int fd, void *owner)
{
    (void)owner;
    fcntl(fd, F_SETFD, 0);
}

static void hold_back(int fd, void *owner)
{
    (void)owner;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* PATH WORD FD and our own arguments; the caller frees the array. NULL without memory. */
static char **arguments(const struct upgrade *u, char *word, char *number)
{
    char *const *argv = u->parts.program.argv;
    size_t n = 1;

    while (argv[n])
        n++;
    char **all = calloc(n + 3, sizeof(*all));
    if (!all)
        return NULL;
    all[0] = (char *)(uintptr_t)u->parts.program.path;
    all[1] = word;
    all[2] = number;
    for (size_t i = 1; i < n; i++)
        all[i + 2] = argv[i];
    return all;
}

/* Returns only when it failed: -errno. */
static int become(const struct upgrade *u)
{
    struct upgrade_state state;
    char word[] = "--upgrade", number[16];
    int fd = write_state(u, &state);

    if (fd < 0)
        return fd;
    snprintf(number, sizeof(number), "%d", fd);
    char **argv = arguments(u, word, number), **env = sd_environment(u->parts.sd);
    int r = -ENOMEM;
    if (argv && env) {
        upgrade_state_each_fd(&state, let_pass, NULL);
        let_pass(fd, NULL);
        r = spawn_replace(u->parts.program.path, argv, env);
        upgrade_state_each_fd(&state, hold_back, NULL);
    }
    free(argv);
    free(env);
    upgrade_state_done(&state);
    fd_close(&fd);
    return r;
}

static void on_look_again(struct loop_timer *timer);

/* The check said yes. */
static void go(struct upgrade *u)
{
    struct stat now;
    const char *why = obstacle(u);

    if (why) {
        refuse(u, why);
        return;
    }
    if (u->parts.reload->state != RELOAD_IDLE) {
        if (loop_now(loop_of(u)) < u->deadline_ms)
            loop_timer_set(loop_of(u), &u->timer, loop_now(loop_of(u)) + LOOK_MS, on_look_again);
        else
            refuse(u, "a reload is under way; sockctl status says what it waits for");
        return;
    }
    if (stat(u->parts.program.path, &now) < 0 || !fd_is_same_file(&u->before, &now)) {
        refuse(u, "the program was replaced once more after it had been asked");
        return;
    }
    log_event(LOG_NOTICE, LOG_ID_UPGRADING, "upgrading: %s", u->parts.program.path);
    int r = become(u);
    refuse_program(u, ": ", strerror(-r));
}

static void on_look_again(struct loop_timer *timer)
{
    go(container_of(timer, struct upgrade, timer));
}

static void kill_check(const struct upgrade *u)
{
    spawn_signal_group(&(struct spawn_child){ .pid = u->pid, .pidfd = u->pidfd }, SIGKILL);
}

static void on_late(struct loop_timer *timer)
{
    struct upgrade *u = container_of(timer, struct upgrade, timer);

    u->late = true;
    kill_check(u); /* it will be reaped */
}

static void read_words(struct upgrade *u)
{
    char more[512];
    ssize_t n;

    while ((n = read(u->words_fd, more, sizeof(more))) > 0) {
        size_t room = sizeof(u->said) - 1 - u->said_len;
        size_t take = (size_t)n < room ? (size_t)n : room;

        memcpy(u->said + u->said_len, more, take);
        u->said_len += take;
    }
    u->said[u->said_len] = '\0';
    if (n == 0)
        loop_remove(loop_of(u), &u->words);
}

static void on_words(struct loop_source *source, uint32_t events)
{
    (void)events;
    read_words(container_of(source, struct upgrade, words));
}

static bool said_yes(const struct upgrade *u)
{
    size_t len = strlen(YES);

    return u->said_len > len && strcmp(u->said + u->said_len - len, YES) == 0;
}

bool upgrade_reaped(struct upgrade *u, pid_t pid, int status)
{
    char how[SPAWN_STATUS_MAX], why[SPAWN_STATUS_MAX + 40];

    if (u->pid != pid || pid == 0)
        return false;
    kill_check(u); /* what it may have started itself */
    read_words(u);
    bool yes = WIFEXITED(status) && WEXITSTATUS(status) == 0 && said_yes(u);
    forget_check(u);
    snprintf(why, sizeof(why), "%s%s", spawn_print_status(how, status),
             status == 0 ? ", and did not say that it takes over" : "");
    if (u->late)
        refuse_program(u, " ", "did not answer within 10 s");
    else if (yes)
        go(u);
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0 && u->said_len > 0)
        refuse(u, u->said);
    else
        refuse_program(u, " ", why);
    return true;
}

/* 0, or -errno and *RET_STEP. */
static int start_check(struct upgrade *u, int state_fd, int words_fd, enum spawn_step *ret_step)
{
    char word[] = "--upgrade-check", number[] = "0";
    char **argv = arguments(u, word, number);
    char *paths[] = { (char *)(uintptr_t)u->parts.program.path, NULL };
    struct spawn_exec what = {
        .paths = paths,
        .argv = argv,
        .envp = environ,
        .fds = { state_fd, words_fd, words_fd },
        .directory = ".",
        .dies_with_us = true,
        .is_trusted = true, /* the unit may forbid to give capabilities away */
    };
    struct spawn_child child;

    int r = argv ? spawn_exec(&what, &child, ret_step) : -ENOMEM;
    free(argv);
    if (r < 0)
        return r;
    u->pid = child.pid;
    u->pidfd = child.pidfd;
    return 0;
}

/* 0; or -errno, and whether that is about the program. */
static int check(struct upgrade *u, bool *ret_of_program)
{
    struct upgrade_state state;
    enum spawn_step step = SPAWN_STEP_PREPARE;
    int words[2] = { -1, -1 };
    int state_fd = write_state(u, &state);

    *ret_of_program = false;
    if (state_fd < 0)
        return state_fd;
    upgrade_state_done(&state);
    int r = pipe2(words, O_CLOEXEC) < 0 ? -errno : fd_set_nonblock(words[0], 1);
    *ret_of_program = r == 0;
    if (r == 0)
        r = stat(u->parts.program.path, &u->before) < 0 ? -errno : 0;
    if (r == 0)
        r = start_check(u, state_fd, words[1], &step);
    fd_close(&state_fd);
    fd_close(&words[1]);
    u->words_fd = words[0];
    if (r == 0)
        r = loop_add(loop_of(u), &u->words, u->words_fd, EPOLLIN, on_words);
    return r;
}

void upgrade_ask(struct upgrade *u, struct control_client *client)
{
    const char *why = obstacle(u);
    bool of_program = false;

    if (client)
        upgrade_add_waiter(u, client);
    if (u->running)
        return;
    u->running = true;
    u->late = false;
    u->said_len = 0;
    u->began_ms = loop_now(loop_of(u));
    u->deadline_ms = u->began_ms + WITHIN_MS;
    int r = why ? 0 : check(u, &of_program);
    if (r < 0 && u->pid)
        spawn_end_now(u->pid);
    if (of_program && r < 0)
        refuse_program(u, ": ", strerror(-r));
    else if (why || r < 0)
        refuse(u, why ? why : strerror(-r));
    else
        loop_timer_set(loop_of(u), &u->timer, u->deadline_ms, on_late);
}

void upgrade_stop(struct upgrade *u)
{
    u->stopped = true;
    if (u->pid)
        kill_check(u);
}
