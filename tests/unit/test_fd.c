/* base/fd.c: what is closed, what is kept, and files that are not what they seem. */
#include "test.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/sockd-test-fd-XXXXXX";

static int make_dir(void **arg)
{
    (void)arg;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **arg)
{
    (void)arg;
    return chdir("/") == 0 ? rmdir(dir) : -1;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* What CHILD, run in a process of its own, returns. */
static int in_child(int (*child)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void write_file(const char *name, const char *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    fd_close(&fd);
}

static void test_close_forgets_the_number_and_keeps_errno(void **arg)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fd;

    (void)arg;
    errno = EILSEQ;
    fd_close(&fd);
    fd_close(&fd);
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(fd, -1);
    assert_false(is_open(copy));
}

static int fill_child(void)
{
    struct stat st;

    for (int fd = 0; fd <= 2; fd++)
        close(fd);
    if (fd_fill_standard() != 0)
        return 1;
    for (int fd = 0; fd <= 2; fd++)
        if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || (fcntl(fd, F_GETFD) & FD_CLOEXEC))
            return 2;
    return 0;
}

static int fill_only_output_child(void)
{
    struct stat before, after;

    fstat(0, &before);
    close(1);
    if (fd_fill_standard() != 0 || fstat(0, &after) < 0 || !is_open(1))
        return 1;
    return before.st_ino == after.st_ino ? 0 : 2;
}

/* FAULTS.md A21 */
static void test_closed_standard_descriptors_become_dev_null(void **arg)
{
    (void)arg;
    assert_int_equal(in_child(fill_child), 0);
    assert_int_equal(in_child(fill_only_output_child), 0);
}

static void test_nonblock_is_set_and_cleared(void **arg)
{
    int fds[2];

    (void)arg;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblock(fds[0], 1), 0);
    assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    assert_int_equal(fd_set_nonblock(fds[0], 1), 0);
    assert_int_equal(fd_set_nonblock(fds[0], 0), 0);
    assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    assert_int_equal(fd_set_nonblock(-1, 1), -EBADF);
}

static void test_channel_keeps_messages_apart(void **arg)
{
    int fds[2];
    char text[16];

    (void)arg;
    assert_int_equal(fd_channel(fds), 0);
    assert_int_equal(send(fds[0], "ab", 2, 0), 2);
    assert_int_equal(send(fds[0], "c", 1, 0), 1);
    assert_int_equal(recv(fds[1], text, sizeof(text), 0), 2);
    assert_int_equal(recv(fds[1], text, sizeof(text), 0), 1);
    assert_int_equal(recv(fds[1], text, sizeof(text), 0), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
}

static int close_others_child(void)
{
    int keep[] = { 17, -1, 9, 9, 1, 31 };
    static const int kept[] = { 0, 1, 2, 9, 17, 31 };
    size_t next = 0;

    for (int fd = 3; fd < 40; fd++)
        dup2(0, fd);
    fd_close_others(keep, sizeof(keep) / sizeof(keep[0]));
    for (int fd = 0; fd < 40; fd++) {
        bool wanted = next < 6 && kept[next] == fd;

        if (is_open(fd) != wanted)
            return fd + 1;
        next += wanted;
    }
    fd_close_others(NULL, 0);
    return is_open(9) || is_open(17) || is_open(31) || !is_open(2);
}

static void test_close_others_keeps_what_is_named_and_standard_ones(void **arg)
{
    (void)arg;
    assert_int_equal(in_child(close_others_child), 0);
}

static void test_file_is_read_whole_with_its_owner_and_mode(void **arg)
{
    char *text = NULL;
    size_t len = 99;
    struct stat st;

    (void)arg;
    write_file("file", "a\0bc\n", 5);
    assert_int_equal(chmod("file", 0646), 0);
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(fd_read_file("link", 5, &text, &len, &st), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(text, "a\0bc\n", 6);
    assert_int_equal(st.st_mode & 07777, 0646);
    assert_int_equal(st.st_uid, geteuid());
    free(text);
    write_file("file", "", 0);
    assert_int_equal(fd_read_file("file", 0, &text, &len, NULL), 0);
    assert_int_equal(len, 0);
    assert_string_equal(text, "");
    free(text);
    unlink("file");
    unlink("link");
}

/* Files of /proc have the size 0: as if the file had grown since it was looked at. */
static void test_file_that_is_larger_than_its_size_says_is_read_or_refused(void **arg)
{
    char *text = NULL;
    size_t len = 0;

    (void)arg;
    assert_int_equal(fd_read_file("/proc/self/status", 1 << 20, &text, &len, NULL), 0);
    assert_true(len > 100);
    assert_int_equal(strlen(text), len);
    free(text);
    text = NULL;
    assert_int_equal(fd_read_file("/proc/self/status", 100, &text, &len, NULL), -EFBIG);
    assert_null(text);
}

static void test_file_over_the_limit_is_refused(void **arg)
{
    char *text = NULL;
    size_t len = 77;

    (void)arg;
    write_file("file", "123456", 6);
    assert_int_equal(fd_read_file("file", 5, &text, &len, NULL), -EFBIG);
    assert_int_equal(truncate("file", (off_t)1 << 40), 0);
    assert_int_equal(fd_read_file("file", 1 << 20, &text, &len, NULL), -EFBIG);
    assert_null(text);
    assert_int_equal(len, 77);
    unlink("file");
}

/* FAULTS.md H8 */
static void test_what_is_no_regular_file_is_refused_without_waiting(void **arg)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "socket" };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static const char *const names[] = { "fifo", "socket", ".", "/dev/null", "/dev/tty" };
    char *text = NULL;
    size_t len;

    (void)arg;
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(fd_read_file(names[i], 1000, &text, &len, NULL), -EINVAL);
    assert_int_equal(fd_read_file("missing", 1000, &text, &len, NULL), -ENOENT);
    assert_null(text);
    fd_close(&listener);
    unlink("fifo");
    unlink("socket");
}

static int raise_child(void)
{
    struct rlimit limit;
    size_t old = 0, hard;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1;
    hard = limit.rlim_max;
    limit.rlim_cur = 50;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || fd_raise_limit(&old) != hard || old != 50)
        return 2;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur != hard || fd_raise_limit(NULL) != hard;
}

static void test_limit_is_raised_to_the_hard_one_and_the_old_one_told(void **arg)
{
    (void)arg;
    assert_int_equal(in_child(raise_child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_forgets_the_number_and_keeps_errno),
        cmocka_unit_test(test_closed_standard_descriptors_become_dev_null),
        cmocka_unit_test(test_nonblock_is_set_and_cleared),
        cmocka_unit_test(test_channel_keeps_messages_apart),
        cmocka_unit_test(test_close_others_keeps_what_is_named_and_standard_ones),
        cmocka_unit_test(test_file_is_read_whole_with_its_owner_and_mode),
        cmocka_unit_test(test_file_that_is_larger_than_its_size_says_is_read_or_refused),
        cmocka_unit_test(test_file_over_the_limit_is_refused),
        cmocka_unit_test(test_what_is_no_regular_file_is_refused_without_waiting),
        cmocka_unit_test(test_limit_is_raised_to_the_hard_one_and_the_old_one_told),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
