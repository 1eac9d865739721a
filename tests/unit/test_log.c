/* base/log.c on standard error: one event is one line, nothing waits, and what was lost is told. */
#include "log_stderr.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

static void test_level_words_are_read_and_printed(void **arg)
{
    (void)arg;
    for (size_t i = 0; log_level_words[i]; i++)
        assert_string_equal(log_level_word(log_parse_level(log_level_words[i])), log_level_words[i]);
    assert_int_equal(log_parse_level("error"), LOG_ERR);
    assert_int_equal(log_parse_level("debug"), LOG_DEBUG);
    assert_int_equal(log_parse_level("loud"), -EINVAL);
    assert_int_equal(log_parse_level(""), -EINVAL);
    assert_string_equal(log_level_word(LOG_CRIT), "error");
}

static void test_line_has_time_pid_level_service_peer_and_text(void **arg)
{
    int fd = pipe_as_stderr();
    const struct log_about about = { .service = "echo", .peer = &peer };
    char pattern[200];

    (void)arg;
    log_open("sockd", LOG_INFO);
    log_write(LOG_WARNING, &about, "text %d", 7);
    snprintf(pattern, sizeof(pattern), STAMP "\\[%d\\] warning: echo: 127\\.0\\.0\\.1:4000: text 7\n$",
             getpid());
    assert_matches(read_now(fd), pattern);

    log_set_process(NULL, 2, 0);
    log_info("served");
    snprintf(pattern, sizeof(pattern), STAMP "\\[%d worker 2\\] served\n$", getpid());
    assert_matches(read_now(fd), pattern);
    log_set_process("spawner", 0, 3);
    log_notice("noticed");
    assert_matches(read_now(fd), " spawner\\] noticed\n$");
    log_set_process(NULL, 2, 0);
    log_error("failed");
    assert_matches(read_now(fd), "\\] error: failed\n$");
    log_set_level(LOG_DEBUG);
    log_debug("detail");
    assert_matches(read_now(fd), "\\] debug: detail\n$");
    fd_close(&fd);
}

static void test_lines_below_the_level_are_not_written(void **arg)
{
    int fd = pipe_as_stderr();

    (void)arg;
    log_open("sockd", LOG_NOTICE);
    log_info("no");
    log_debug("no");
    assert_string_equal(read_now(fd), "");
    assert_false(log_wants(LOG_INFO));
    log_set_level(LOG_INFO);
    assert_true(log_wants(LOG_INFO));
    log_info("yes");
    assert_matches(read_now(fd), "yes\n$");
    fd_close(&fd);
}

static void test_lines_before_opening_are_plain(void **arg)
{
    int fd = pipe_as_stderr();

    (void)arg;
    log_info("text");
    log_error("no");
    assert_string_equal(read_now(fd), "text\nerror: no\n");
    fd_close(&fd);
}

static void test_errno_is_printed_and_kept(void **arg)
{
    int fd = pipe_as_stderr();

    (void)arg;
    log_open("sockd", LOG_INFO);
    errno = ENOENT;
    log_info("cannot: %m");
    assert_int_equal(errno, ENOENT);
    assert_matches(read_now(fd), "cannot: No such file or directory\n$");
    fd_close(&fd);
}

/* FAULTS.md H4 */
static void test_strangers_bytes_cannot_make_a_second_line(void **arg)
{
    int fd = pipe_as_stderr();
    const struct log_about about = { .service = "a\nb" };
    char bytes[256], *text;

    (void)arg;
    for (int i = 0; i < 255; i++)
        bytes[i] = (char)(i + 1);
    bytes[255] = '\0';
    log_open("sockd", LOG_INFO);
    log_write(LOG_INFO, &about, "%s", bytes);
    log_info("%s", "a\nMESSAGE=b\033[2J\u202e%n%s");
    text = read_now(fd);
    assert_int_equal(count(text, '\n'), 2);
    for (char *p = text; *p; p++)
        assert_true(*p == '\n' || ((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f));
    assert_matches(text, "\\] a\\\\nMESSAGE=b\\\\x1b\\[2J\\\\xe2\\\\x80\\\\xae%n%s\n$");
    fd_close(&fd);
}

static void test_long_line_is_cut_visibly_and_written_whole(void **arg)
{
    int fd = pipe_as_stderr();
    char *text, *much = malloc(100001);

    (void)arg;
    memset(much, 'x', 100000);
    much[100000] = '\0';
    log_open("sockd", LOG_INFO);
    log_info("%s", much);
    text = read_now(fd);
    assert_true(strlen(text) <= PIPE_BUF);
    assert_matches(text, "xxx\\.\\.\\.\n$");
    memset(much, '\n', 100000);
    log_info("%s", much);
    text = read_now(fd);
    assert_true(strlen(text) <= PIPE_BUF && strlen(text) > PIPE_BUF / 2);
    assert_matches(text, "n\\.\\.\\.\n$");
    assert_int_equal(count(text, '\n'), 1);
    free(much);
    fd_close(&fd);
}

/* Each of the N lines is there; then the loss is told, and then comes the next line. */
static void assert_loss_is_told(int fd, unsigned n, unsigned lost)
{
    char *text = read_now(fd);
    char pattern[120];

    assert_int_equal(count(text, '\n'), n);
    log_info("after");
    text = read_now(fd);
    assert_int_equal(count(text, '\n'), 2);
    snprintf(pattern, sizeof(pattern), "warning: %u log lines? (was|were) lost[^\n]*\n[^\n]*after\n$", lost);
    assert_matches(text, pattern);
    log_info("again");
    assert_int_equal(count(read_now(fd), '\n'), 1);
}

/* FAULTS.md C12 */
static void test_full_pipe_loses_lines_and_never_waits(void **arg)
{
    int fd = pipe_as_stderr();
    unsigned n;

    (void)arg;
    log_open("sockd", LOG_INFO);
    n = log_until_lost();
    log_info("lost as well");
    assert_loss_is_told(fd, n, 2);
    assert_false(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
    fd_close(&fd);
}

static void test_full_pipe_never_waits_where_it_cannot_be_opened_anew(void **arg)
{
    int fd = pipe_as_stderr();
    unsigned n = log_until_lost(); /* not opened: as it is */

    (void)arg;
    assert_loss_is_told(fd, n, 1);
    assert_false(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
    fd_close(&fd);
}

static void test_full_socket_loses_lines_and_never_waits(void **arg)
{
    int fds[2];
    unsigned n;

    (void)arg;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fd_set_nonblock(fds[0], 1), 0);
    take_as_stderr(fds[1]);
    log_open("sockd", LOG_INFO);
    assert_int_equal(log_fd(), -1);
    n = log_until_lost();
    assert_loss_is_told(fds[0], n, 1);
    fd_close(&fds[0]);
}

static void test_stopped_terminal_loses_lines_and_never_waits(void **arg)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), slave;
    struct termios raw;
    char *text;

    (void)arg;
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0 && tcgetattr(slave, &raw) == 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    take_as_stderr(slave);
    log_open("sockd", LOG_INFO);
    assert_true(log_fd() >= 0);
    log_until_lost();
    while (read_now(master)[0] != '\0')
        continue;
    log_info("after");
    text = read_now(master);
    assert_matches(text, "^\n?[^\n]*warning: 1 log line was lost[^\n]*\n[^\n]*after\n$");
    assert_false(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
    fd_close(&master);
}

/* FAULTS.md C12; the signals of pipes are ignored by the daemon, those of sockets are never raised. */
static void test_closed_reader_costs_only_the_lines(void **arg)
{
    uint64_t before = log_dropped();
    int fd = pipe_as_stderr(), fds[2];

    (void)arg;
    log_open("sockd", LOG_INFO);
    fd_close(&fd);
    log_info("to nobody");
    assert_int_equal(log_dropped(), before + 1);

    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    take_as_stderr(fds[1]);
    fd_close(&fds[0]);
    log_open("sockd", LOG_INFO);
    log_info("to nobody");
    assert_int_equal(log_dropped(), before + 2);

    log_close();
    fd = pipe_as_stderr();
    fd_close(&fd);
    log_info("to nobody, as it is");
    assert_int_equal(log_dropped(), before + 3);
    signal(SIGPIPE, SIG_IGN);
}

/* FAULTS.md C10, C17 */
static void test_full_disk_loses_lines_and_the_next_one_is_whole(void **arg)
{
    struct rlimit old, low = { .rlim_cur = 300 };
    uint64_t before = log_dropped();
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char *text;

    (void)arg;
    take_as_stderr(fd);
    log_open("sockd", LOG_INFO);
    log_info("no room");
    assert_int_equal(log_dropped(), before + 1);

    fd = file_as_stderr();
    log_open("sockd", LOG_INFO);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    log_until_lost(); /* this one is cut in its middle */
    log_info("no byte of it");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    log_info("after");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    text = read_now(fd);
    assert_matches(text, "warning: 2 log lines were lost[^\n]*\n[^\n]*after\n$");
    assert_true(text[300] == '\n');
    assert_int_equal(strncmp(text + 301, "2", 1), 0);
    fd_close(&fd);
}

static void test_closed_standard_error_loses_lines(void **arg)
{
    uint64_t before = log_dropped();

    (void)arg;
    close(STDERR_FILENO);
    log_open("sockd", LOG_INFO);
    log_info("to nobody");
    assert_int_equal(log_dropped(), before + 1);
}

static void test_fork_does_not_inherit_losses(void **arg)
{
    int fd = pipe_as_stderr(), status;
    pid_t pid;

    (void)arg;
    log_open("sockd", LOG_INFO);
    log_until_lost();
    read_now(fd);
    pid = fork();
    if (pid == 0) {
        bool clean = log_dropped() == 0;

        log_info("child");
        _exit(clean ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count(read_now(fd), '\n'), 1);
    assert_true(log_dropped() > 0);
    fd_close(&fd);
}

#define LINE_TEST(name) cmocka_unit_test_teardown(name, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINE_TEST(test_level_words_are_read_and_printed),
        LINE_TEST(test_line_has_time_pid_level_service_peer_and_text),
        LINE_TEST(test_lines_below_the_level_are_not_written),
        LINE_TEST(test_lines_before_opening_are_plain),
        LINE_TEST(test_errno_is_printed_and_kept),
        LINE_TEST(test_strangers_bytes_cannot_make_a_second_line),
        LINE_TEST(test_long_line_is_cut_visibly_and_written_whole),
        LINE_TEST(test_full_pipe_loses_lines_and_never_waits),
        LINE_TEST(test_full_pipe_never_waits_where_it_cannot_be_opened_anew),
        LINE_TEST(test_full_socket_loses_lines_and_never_waits),
        LINE_TEST(test_stopped_terminal_loses_lines_and_never_waits),
        LINE_TEST(test_closed_reader_costs_only_the_lines),
        LINE_TEST(test_full_disk_loses_lines_and_the_next_one_is_whole),
        LINE_TEST(test_closed_standard_error_loses_lines),
        LINE_TEST(test_fork_does_not_inherit_losses),
    };

    return cmocka_run_group_tests(tests, prepare, clean_up);
}
