/* base/spawn_exec.c and base/spawn_pool.c: programs that are executed, and those that cannot be. */
#include "test.h"

#include "base/fd.h"
#include "base/spawn_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *const environment[] = { NULL };

/* Runs ARGV, by PATHS, to its end; what it writes is in OUT. The wait(2) status, or -errno. */
static int run(char *const *paths, char *const *argv, const char *directory, char *out, size_t size,
               enum spawn_step *ret_step)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), pipe_fds[2], status;
    struct spawn_child child;
    size_t len = 0;
    ssize_t n;

    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    struct spawn_exec what = { .paths = paths,
                               .argv = argv,
                               .envp = environment,
                               .fds = { null, pipe_fds[1], null },
                               .directory = directory,
                               .soft_descriptors = 99 };
    int r = spawn_exec(&what, &child, ret_step);
    fd_close(&null);
    fd_close(&pipe_fds[1]);
    while ((n = read(pipe_fds[0], out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    fd_close(&pipe_fds[0]);
    if (r < 0)
        return r;
    fd_close(&child.pidfd);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    return status;
}

static void test_a_program_gets_what_it_is_given_and_nothing_else(void **state)
{
    char *paths[] = { (char[]){ "/bin/sh" }, NULL };
    char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" },
                     (char[]){ "ulimit -n; umask; pwd; echo /proc/self/fd/*; exit 7" }, NULL };
    enum spawn_step step;
    char out[512];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    int status = run(paths, argv, "/usr", out, sizeof(out), &step);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_int_equal(strncmp(out, "99\n0022\n/usr\n", 13), 0);
    assert_non_null(strstr(out, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2"));
}

static void test_the_first_path_that_can_be_executed_is(void **state)
{
    char *paths[] = { (char[]){ "/no/such/file" }, (char[]){ "/etc/passwd" }, (char[]){ "/bin/true" }, NULL };
    char *argv[] = { (char[]){ "true" }, NULL };
    enum spawn_step step;
    char out[8];

    (void)state;
    assert_int_equal(run(paths, argv, "/", out, sizeof(out), &step), 0);
}

static void test_the_reason_and_the_step_of_a_failure_come_back(void **state)
{
    char *none[] = { (char[]){ "/no/such/file" }, NULL }, *directory[] = { (char[]){ "/etc" }, NULL };
    char *argv[] = { (char[]){ "x" }, NULL };
    enum spawn_step step;
    char out[8];

    (void)state;
    assert_int_equal(run(none, argv, "/", out, sizeof(out), &step), -ENOENT);
    assert_int_equal(step, SPAWN_STEP_EXECUTE);
    assert_int_equal(run(directory, argv, "/", out, sizeof(out), &step), -EACCES);
    assert_int_equal(step, SPAWN_STEP_EXECUTE);
    assert_int_equal(run(none, argv, "/no/such", out, sizeof(out), &step), -ENOENT);
    assert_int_equal(step, SPAWN_STEP_DIRECTORY);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
}

static void test_a_group_is_found_and_ended_after_its_leader_was_reaped(void **state)
{
    char *paths[] = { (char[]){ "/bin/sh" }, NULL };
    char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "sleep 1000 & exec true" }, NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
    struct spawn_exec what = {
        .paths = paths, .argv = argv, .envp = environment, .fds = { null, null, null }, .directory = "/"
    };
    enum spawn_step step;
    struct spawn_child child;
    pid_t orphan;

    (void)state;
    assert_int_equal(spawn_adopt_orphans(), 0);
    assert_int_equal(spawn_exec(&what, &child, &step), 0);
    fd_close(&null);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    assert_int_equal(spawn_signal_group(&child, 0), 0);
    assert_int_equal(spawn_signal_group(&child, SIGKILL), 0);
    do
        orphan = waitpid(-1, &status, 0);
    while (orphan < 0 && errno == EINTR);
    assert_true(orphan > 0 && WIFSIGNALED(status));
    assert_int_equal(spawn_signal_group(&child, 0), -ESRCH);
    fd_close(&child.pidfd);
}

static unsigned n_done, n_failed;

static void on_done(struct spawn_job *job)
{
    n_done++;
    if (job->error < 0) {
        n_failed++;
        return;
    }
    fd_close(&job->process.pidfd);
    assert_int_equal(waitpid(job->process.pid, NULL, 0), job->process.pid);
}

#define JOBS 40

static void test_the_pool_does_all_its_jobs_and_tells_each(void **state)
{
    char *good[] = { (char[]){ "/bin/true" }, NULL }, *bad[] = { (char[]){ "/no/such/file" }, NULL };
    char *argv[] = { (char[]){ "true" }, NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    static struct spawn_job jobs[JOBS];
    struct spawn_pool *pool;
    struct loop loop;

    (void)state;
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(spawn_pool_open(&loop, &pool), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].what = (struct spawn_exec){ .paths = i % 4 ? good : bad,
                                            .argv = argv,
                                            .envp = environment,
                                            .fds = { null, null, null },
                                            .directory = "/" };
        jobs[i].on_done = on_done;
        spawn_pool_submit(pool, &jobs[i]);
    }
    while (n_done < JOBS)
        loop_turn(&loop, 1000);
    assert_int_equal(n_failed, JOBS / 4);
    spawn_pool_close(pool);
    loop_done(&loop);
    fd_close(&null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_gets_what_it_is_given_and_nothing_else),
        cmocka_unit_test(test_the_first_path_that_can_be_executed_is),
        cmocka_unit_test(test_the_reason_and_the_step_of_a_failure_come_back),
        cmocka_unit_test(test_a_group_is_found_and_ended_after_its_leader_was_reaped),
        cmocka_unit_test(test_the_pool_does_all_its_jobs_and_tells_each),
    };

    fd_fill_standard();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
