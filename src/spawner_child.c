/* The life of a helper or program; see spawner_child.h. */
#include "spawner_child.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "exec_path.h"
#include "log_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is left of a process group when its leader has ended may take so long to end after TERM. */
#define LINGER_MS 1000
/* And so long after KILL. */
#define KILLED_MS 100
/* How often it is looked whether anybody is left: nothing tells us. So often that the number of the group
 * cannot become another's in between. */
#define LOOK_FIRST_MS 1
#define LOOK_MAX_MS   32

static void on_session_over(struct deadline *deadline, void *owner)
{
    struct child *child = container_of(deadline, struct child, session);

    (void)owner;
    child->session_over = true;
    child_end(child, LINGER_MS);
}

static char **make_argv(const struct words *command)
{
    char **argv = calloc(command->len + 1, sizeof(*argv));

    for (size_t i = 0; argv && i < command->len; i++)
        argv[i] = command->item[i];
    return argv;
}

int child_recipe_init(struct child_recipe *recipe, const struct service *service, struct loop *loop)
{
    bool program = service->handler == HANDLER_PROGRAM;

    *recipe = (struct child_recipe){ .service = service };
    log_limit_init(&recipe->lines, loop, service->name, "", STDERR_LINES_PER_SECOND);
    deadlines_init(&recipe->session, loop, program ? service->session_timeout : 0, on_session_over, recipe);
    recipe->argv = make_argv(&service->command);
    recipe->paths = exec_paths(service->command.item[0]);
    int r = spawn_env_init(&recipe->env, service);
    if (r == 0 && recipe->argv && recipe->paths)
        return 0;
    child_recipe_done(recipe);
    return -ENOMEM;
}

void child_recipe_done(struct child_recipe *recipe)
{
    if (!recipe->service)
        return;
    spawn_env_done(&recipe->env);
    exec_paths_free(recipe->paths);
    free(recipe->argv);
    log_limit_done(&recipe->lines);
    deadlines_done(&recipe->session);
    recipe->service = NULL;
}

static void free_child(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct child, garbage));
}

static void release(struct child *child)
{
    loop_remove(child->loop, &child->exit);
    loop_timer_stop(child->loop, &child->kill_timer);
    loop_timer_stop(child->loop, &child->look_timer);
    deadline_clear(&child->session);
    stderr_log_close(&child->errors);
    fd_close(&child->process.pidfd);
    fd_close(&child->errors_fds[0]);
    fd_close(&child->errors_fds[1]);
    free(child->environment);
    child->environment = NULL;
}

/* Once nobody was left in it, its number may be another's. */
static void signal_group(struct child *child, int signo)
{
    if (!child->alone)
        child->alone = spawn_signal_group(&child->process, signo) == -ESRCH;
}

static void ask_group_to_end(struct child *child)
{
    signal_group(child, SIGTERM);
    signal_group(child, SIGCONT);
}

static void finish(struct child *child)
{
    release(child);
    list_remove(&child->link);
    child->hooks->on_end(child, child->status);
    loop_free_later(child->loop, &child->garbage, free_child);
}

/* What was killed has had its moment: who is left does not belong to the group. */
static void on_outlived(struct loop_timer *timer)
{
    struct child *child = container_of(timer, struct child, kill_timer);
    struct log_about about = { .id = LOG_ID_STDERR, .service = child->recipe->service->name };

    if (!stderr_log_drain(&child->errors) && log_limit_take(&child->recipe->lines, LOG_WARNING))
        log_write(LOG_WARNING, &about,
                  "[pid %d] left a process behind in a process group of its own, which is nobody's now",
                  (int)child->process.pid);
    finish(child);
}

static void on_lingered(struct loop_timer *timer)
{
    struct child *child = container_of(timer, struct child, kill_timer);

    signal_group(child, SIGKILL);
    loop_timer_set(child->loop, timer, loop_now(child->loop) + KILLED_MS, on_outlived);
}

static void look_again(struct child *child, loop_timer_fn *look)
{
    loop_timer_set(child->loop, &child->look_timer, loop_now(child->loop) + child->look_ms, look);
    child->look_ms = child->look_ms < LOOK_MAX_MS ? 2 * child->look_ms : LOOK_MAX_MS;
}

static void on_look(struct loop_timer *timer);

/* True when it was the end of it. */
static bool look_whether_over(struct child *child)
{
    signal_group(child, 0);
    if (child->alone && stderr_log_drain(&child->errors)) {
        finish(child);
        return true;
    }
    if (!child->alone)
        look_again(child, on_look);
    return false;
}

static void on_look(struct loop_timer *timer)
{
    look_whether_over(container_of(timer, struct child, look_timer));
}

/* Nobody holds its standard error any more. */
static void on_errors_end(struct stderr_log *errors)
{
    struct child *child = container_of(errors, struct child, errors);

    if (child->state == CHILD_LINGERING)
        look_whether_over(child);
}

static void on_reap_again(struct loop_timer *timer);

/*
 * Nobody else reaps it, but who traces it has it first, and nothing tells us when that is over: ptrace(2).
 *
 * Its group may have others, who get a moment to end. So does one that holds its standard error open: it may
 * be in a group of its own, or just being made for another connection, and then it holds all of ours until it
 * is executed.
 */
static void reap(struct child *child)
{
    if (!spawn_reap_one(child->process.pid, &child->status)) {
        look_again(child, on_reap_again);
        return;
    }
    child->state = CHILD_LINGERING;
    if (!child->asked)
        ask_group_to_end(child);
    child->look_ms = LOOK_FIRST_MS;
    stderr_log_drain(&child->errors);
    if (look_whether_over(child))
        return;
    if (child->hooks->on_exit)
        child->hooks->on_exit(child, child->status);
    if (!child->kill_timer.place)
        loop_timer_set(child->loop, &child->kill_timer, loop_now(child->loop) + LINGER_MS, on_lingered);
    else
        loop_timer_set(child->loop, &child->kill_timer, child->kill_timer.due_ms, on_lingered);
}

static void on_reap_again(struct loop_timer *timer)
{
    reap(container_of(timer, struct child, look_timer));
}

static void on_exit_event(struct loop_source *source, uint32_t events)
{
    struct child *child = container_of(source, struct child, exit);

    (void)events;
    loop_remove(child->loop, source);
    deadline_clear(&child->session);
    child->lived_ms = loop_now(child->loop) - child->started_ms;
    child->look_ms = LOOK_FIRST_MS;
    reap(child);
}

static void on_kill(struct loop_timer *timer)
{
    signal_group(container_of(timer, struct child, kill_timer), SIGKILL);
}

void child_end(struct child *child, uint64_t grace_ms)
{
    uint64_t due_ms = loop_now(child->loop) + grace_ms;
    bool first = child->state == CHILD_RUNNING;

    if (child->state == CHILD_STARTING) {
        child->grace_ms = child->asked && child->grace_ms < grace_ms ? child->grace_ms : grace_ms;
        child->asked = true;
        return;
    }
    child->asked = true;
    if (first)
        child->state = CHILD_ENDING;
    if (grace_ms == 0)
        signal_group(child, SIGKILL);
    else if (first)
        ask_group_to_end(child);
    if (grace_ms > 0 && child->state == CHILD_ENDING && (first || due_ms < child->kill_timer.due_ms))
        loop_timer_set(child->loop, &child->kill_timer, due_ms, on_kill);
    if (grace_ms == 0 && child->state == CHILD_LINGERING)
        loop_timer_set(child->loop, &child->kill_timer, due_ms, on_lingered);
}

void child_forget(struct child *child)
{
    release(child);
    list_remove(&child->link);
    loop_free_later(child->loop, &child->garbage, free_child);
}

/* Watches what runs; when that is not possible it is ended here. What it has said already waits in the pipe:
 * before now there was no number to log it with. */
static int watch(struct child *child)
{
    int r = stderr_log_open(&child->errors, &child->recipe->lines, child->errors_fds[0], child->process.pid,
                            on_errors_end);

    child->errors_fds[0] = -1;
    if (r == 0)
        r = loop_add(child->loop, &child->exit, child->process.pidfd, EPOLLIN, on_exit_event);
    if (r < 0)
        spawn_end_now(child->process.pid);
    return r;
}

static void fail(struct child *child, const struct child_failure *failure)
{
    list_remove(&child->link);
    release(child);
    child->hooks->on_started(child, failure);
    loop_free_later(child->loop, &child->garbage, free_child);
}

static void on_done(struct spawn_job *job)
{
    struct child *child = container_of(job, struct child, job);
    struct child_failure failure = { .error = job->error, .step = job->step };

    fd_close(&child->errors_fds[1]);
    if (job->error == 0) {
        child->process = job->process;
        failure = (struct child_failure){ .error = watch(child), .step = SPAWN_STEP_FORK };
    }
    if (failure.error < 0) {
        fail(child, &failure);
        return;
    }
    child->state = CHILD_RUNNING;
    deadline_set(&child->recipe->session, &child->session);
    child->hooks->on_started(child, NULL);
    if (child->asked)
        child_end(child, child->grace_ms);
}

static struct child *new_child(struct child_recipe *recipe, struct loop *loop, const int fds[2],
                               char **environment)
{
    struct child *child = calloc(1, sizeof(*child));

    if (!child)
        return NULL;
    child->loop = loop;
    child->recipe = recipe;
    child->environment = environment;
    child->process.pidfd = child->exit.fd = child->errors.fd = child->errors.source.fd = -1;
    child->errors_fds[0] = child->errors_fds[1] = -1;
    child->started_ms = loop_now(loop);
    list_init(&child->link);
    deadline_init(&child->session);
    child->job.on_done = on_done;
    child->job.what = (struct spawn_exec){
        .paths = recipe->paths,
        .argv = recipe->argv,
        .envp = environment,
        .fds = { fds[0], fds[1], -1 },
        .directory = recipe->service->directory,
        .soft_descriptors = recipe->soft_descriptors,
        .dies_with_us = recipe->service->handler == HANDLER_HELPER,
        .plain_oom_score = recipe->plain_oom_score,
    };
    return child;
}

/* 0 or -errno. */
static int open_errors(struct child *child)
{
    if (pipe2(child->errors_fds, O_CLOEXEC) < 0)
        return -errno;
    child->job.what.fds[2] = child->errors_fds[1];
    fd_set_nonblock(child->errors_fds[0], 1);
    return 0;
}

int child_start(struct child_recipe *recipe, struct loop *loop, struct spawn_pool *pool, const int fds[2],
                char **environment, const struct child_hooks *hooks, struct child **ret)
{
    struct child *child = environment ? new_child(recipe, loop, fds, environment) : NULL;

    if (!child) {
        free(environment);
        return -ENOMEM;
    }
    int r = open_errors(child);
    if (r < 0) {
        release(child);
        free(child);
        return r;
    }
    child->hooks = hooks;
    *ret = child;
    spawn_pool_submit(pool, &child->job);
    return 0;
}

char *child_print_failure(char buf[CHILD_FAILURE_MAX], const struct service *service,
                          const struct child_failure *failure)
{
    static const char *const verbs[] = {
        [SPAWN_STEP_FORK] = "cannot make a process for",
        [SPAWN_STEP_PREPARE] = "cannot prepare a process for",
        [SPAWN_STEP_DIRECTORY] = "cannot enter the directory",
        [SPAWN_STEP_EXECUTE] = "cannot execute",
    };
    const char *what = failure->step == SPAWN_STEP_DIRECTORY ? service->directory : service->command.item[0];
    char safe[CHILD_FAILURE_MAX / 2];

    text_escape(safe, sizeof(safe), what, strlen(what));
    snprintf(buf, CHILD_FAILURE_MAX, "%s %s: %s%s", verbs[failure->step], safe, strerror(-failure->error),
             failure->error == -ENOEXEC ? " (a script needs a first line with #!)" : "");
    return buf;
}
