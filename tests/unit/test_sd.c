/* sd.c, against a notification socket of the test's own. */
#include "test.h"

#include "base/fd.h"
#include "sd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int manager = -1; /* the service manager's end */
static char name[80];

/* An abstract socket, as systemd uses in containers. */
static int open_manager(void **arg)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };

    (void)arg;
    int n = snprintf(name, sizeof(name), "@sockd-test-sd-%d", (int)getpid());
    memcpy(sa.sun_path, name, (size_t)n);
    sa.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return bind(manager, (struct sockaddr *)&sa,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n));
}

static int close_manager(void **arg)
{
    (void)arg;
    fd_close(&manager);
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

/* The next message, or "" when there is none. */
static const char *next(void)
{
    static char text[1024];
    ssize_t n = recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void test_states_are_told_as_documented(void **arg)
{
    struct sd sd;
    unsigned long long usec;

    (void)arg;
    sd_open(&sd);
    sd_tell_ready(&sd);
    assert_string_equal(next(), "READY=1");
    sd_tell_reloading(&sd);
    assert_int_equal(sscanf(next(), "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
    assert_true(usec > 0);
    sd_tell_status(&sd, "generation 1");
    assert_string_equal(next(), "STATUS=generation 1");
    sd_tell_stopping(&sd);
    assert_string_equal(next(), "STOPPING=1");
    sd_extend_timeout(&sd, 15000);
    assert_string_equal(next(), "EXTEND_TIMEOUT_USEC=15000000");
    sd_close(&sd);
}

static void test_the_environment_is_cleaned(void **arg)
{
    static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                         "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES" };
    struct sd sd;

    (void)arg;
    for (size_t i = 1; i < 6; i++)
        setenv(names[i], "1", 1);
    sd_open(&sd);
    for (size_t i = 0; i < 6; i++)
        assert_null(getenv(names[i]));
    sd_close(&sd);
}

static void test_B14_ready_is_sent_again_when_the_manager_did_not_read(void **arg)
{
    struct sd sd;
    struct loop loop;
    int statuses = 0;

    (void)arg;
    assert_int_equal(loop_init(&loop), 0);
    sd_open(&sd);
    sd_start(&sd, &loop);
    for (int i = 0; i < 10000; i++) /* until the queue of the manager is full, and more */
        sd_tell_status(&sd, "filling");
    sd_tell_reloading(&sd);
    sd_tell_ready(&sd);
    assert_int_equal(sd.queue_len, 2);
    while (strcmp(next(), "STATUS=filling") == 0)
        statuses++;
    assert_true(statuses > 0 && statuses < 10000);
    while (sd.queue_len > 0)
        assert_int_equal(loop_turn(&loop, 1000), 0);
    assert_memory_equal(next(), "RELOADING=1\n", 12);
    assert_string_equal(next(), "READY=1");
    sd_close(&sd);
    loop_done(&loop);
}

static void test_B14_a_manager_that_is_gone_blocks_nothing_and_costs_no_memory(void **arg)
{
    struct sd sd;

    (void)arg;
    fd_close(&manager);
    sd_open(&sd);
    for (int i = 0; i < 1000; i++)
        sd_tell_ready(&sd);
    assert_int_equal(sd.queue_len, SD_QUEUE);
    sd_close(&sd);
}

static void test_without_a_manager_nothing_is_told(void **arg)
{
    struct sd sd;

    (void)arg;
    unsetenv("NOTIFY_SOCKET");
    sd_open(&sd);
    sd_tell_ready(&sd);
    assert_int_equal(sd.queue_len, 0);
    assert_false(sd.managed);
    sd_close(&sd);
}

static void test_an_address_that_is_none_is_ignored(void **arg)
{
    static const char *const addresses[] = { "", "/", "@", "relative", "vsock:2:1234" };
    struct sd sd;

    (void)arg;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        setenv("NOTIFY_SOCKET", addresses[i], 1);
        sd_open(&sd);
        assert_int_equal(sd.fd, -1);
        sd_close(&sd);
    }
}

static void test_the_watchdog_is_fed_at_half_its_time(void **arg)
{
    struct sd sd;
    struct loop loop;
    char pid[16];

    (void)arg;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_USEC", "20000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    sd_open(&sd);
    assert_int_equal(sd.watchdog_ms, 10);
    assert_int_equal(loop_init(&loop), 0);
    sd_start(&sd, &loop);
    for (int fed = 0; fed < 3;) {
        assert_int_equal(loop_turn(&loop, 1000), 0);
        for (const char *text; *(text = next());) {
            assert_string_equal(text, "WATCHDOG=1");
            fed++;
        }
    }
    sd_close(&sd);
    loop_done(&loop);
}

static void test_a_watchdog_of_another_process_is_not_ours(void **arg)
{
    struct sd sd;

    (void)arg;
    setenv("WATCHDOG_USEC", "20000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    sd_open(&sd);
    assert_int_equal(sd.watchdog_ms, 0);
    sd_close(&sd);
}

static void set_listen(const char *pid, const char *fds, const char *names)
{
    char own[16];

    snprintf(own, sizeof(own), "%d", (int)getpid());
    setenv("LISTEN_PID", pid ? pid : own, 1);
    setenv("LISTEN_FDS", fds, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
}

static void test_B13_a_hostile_listen_environment_is_an_error_or_nothing(void **arg)
{
    static const struct {
        const char *pid, *fds, *names;
        int error;
    } rows[] = {
        { "1", "1", NULL, -ESRCH },    { NULL, "0", NULL, -EINVAL },          { NULL, "x", NULL, -EINVAL },
        { NULL, "-1", NULL, -EINVAL }, { NULL, "4000000000", NULL, -ERANGE }, { NULL, "1000", NULL, -EBADF },
    };
    struct sd sd;

    (void)arg;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_listen(rows[i].pid, rows[i].fds, rows[i].names);
        sd_open(&sd);
        if (rows[i].error == -ERANGE)
            assert_true(sd.inherit_error < 0);
        else
            assert_int_equal(sd.inherit_error, rows[i].error);
        assert_int_equal(sd.n_inherited, 0);
        assert_null(getenv("LISTEN_FDS"));
        sd_close(&sd);
    }
}

int main(void)
{
#define WITH_MANAGER(test) cmocka_unit_test_setup_teardown(test, open_manager, close_manager)
    const struct CMUnitTest tests[] = {
        WITH_MANAGER(test_states_are_told_as_documented),
        WITH_MANAGER(test_the_environment_is_cleaned),
        WITH_MANAGER(test_B14_ready_is_sent_again_when_the_manager_did_not_read),
        WITH_MANAGER(test_B14_a_manager_that_is_gone_blocks_nothing_and_costs_no_memory),
        WITH_MANAGER(test_without_a_manager_nothing_is_told),
        WITH_MANAGER(test_an_address_that_is_none_is_ignored),
        WITH_MANAGER(test_the_watchdog_is_fed_at_half_its_time),
        WITH_MANAGER(test_a_watchdog_of_another_process_is_not_ours),
        WITH_MANAGER(test_B13_a_hostile_listen_environment_is_an_error_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
