/* base/sockfile.c: what is replaced, what is refused, and whose file is removed. */
#include "test.h"

#include "base/fd.h"
#include "base/sockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], path[96];

static int make_dir(void **arg)
{
    (void)arg;
    strcpy(dir, "/tmp/sockd-test-sockfile-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s", dir);
    return 0;
}

static int remove_dir(void **arg)
{
    (void)arg;
    unlink(path);
    return rmdir(dir); /* fails when a temporary file was left */
}

static struct sockfile file_of(int type)
{
    return (struct sockfile){ .path = path, .type = type, .mode = 0640, .gid = (gid_t)-1 };
}

static int bind_listening(struct sockfile_id *id)
{
    struct sockfile file = file_of(SOCK_STREAM);
    int fd = sockfile_bind(&file, id);

    if (fd >= 0)
        assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int try_connect(const char *name, int type)
{
    struct sockaddr_un sa;
    int len = sockfile_address(name, &sa);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    assert_true(len > 0 && fd >= 0);
    int r = connect(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0 ? -errno : 0;
    fd_close(&fd);
    return r;
}

static void test_a_new_file_has_the_mode_that_was_asked_for_whatever_the_umask(void **arg)
{
    struct sockfile_id id;
    struct stat st;

    (void)arg;
    mode_t old = umask(0077);
    int fd = bind_listening(&id);
    umask(old);
    assert_true(fd >= 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_true(id.ino == st.st_ino && id.dev == st.st_dev);
    assert_int_equal(try_connect(path, SOCK_STREAM), 0);
    fd_close(&fd);
    sockfile_remove(path, &id);
    assert_int_equal(access(path, F_OK), -1);
}

/* In a process of its own, as a user without rights. */
static int check_as_stranger(const struct sockfile *file, const struct sockfile_id *id, gid_t own)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0)
        _exit(setgroups(0, NULL) < 0 || setresgid(own, own, own) < 0 || setresuid(12345, 12345, 12345) < 0
                  ? 255
                  : -sockfile_check(file, id));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void test_what_may_be_done_with_a_file_is_known_before(void **arg)
{
    struct sockfile file = file_of(SOCK_STREAM);
    struct sockfile_id id = { 0 };

    (void)arg;
    if (geteuid() != 0)
        skip();
    int fd = sockfile_bind(&file, &id);
    assert_true(fd >= 0);
    assert_int_equal(chmod(dir, 0711), 0);
    assert_int_equal(check_as_stranger(&file, &id, 777), 0); /* there is nothing to change */
    file.mode = 0666;
    assert_int_equal(check_as_stranger(&file, &id, 777), -EPERM);
    assert_int_equal(lchown(path, 12345, 777), 0);
    assert_int_equal(check_as_stranger(&file, &id, 777), 0);
    file.gid = 777;
    assert_int_equal(check_as_stranger(&file, &id, 778), 0); /* it is in this group already */
    file.gid = 778;
    assert_int_equal(check_as_stranger(&file, &id, 778), 0);
    assert_int_equal(check_as_stranger(&file, &id, 777), -EPERM);
    assert_int_equal(sockfile_check(&file, &id), 0);
    id.ino++;
    assert_int_equal(sockfile_check(&file, &id), -ESTALE);
    fd_close(&fd);
}

static void test_A22_a_live_socket_is_refused_and_goes_on(void **arg)
{
    struct sockfile_id id, other = { .ino = 1 };

    (void)arg;
    int fd = bind_listening(&id);
    assert_true(fd >= 0);
    assert_int_equal(bind_listening(&other), -EADDRINUSE);
    assert_int_equal(other.ino, 1);
    struct sockfile dgram = file_of(SOCK_DGRAM);
    assert_int_equal(sockfile_bind(&dgram, &other), -EADDRINUSE);
    assert_int_equal(try_connect(path, SOCK_STREAM), 0);
    fd_close(&fd);
}

static void test_A22_a_live_datagram_socket_is_refused(void **arg)
{
    struct sockfile file = file_of(SOCK_DGRAM);
    struct sockfile_id id, other;

    (void)arg;
    int fd = sockfile_bind(&file, &id);
    assert_true(fd >= 0);
    assert_int_equal(sockfile_bind(&file, &other), -EADDRINUSE);
    assert_int_equal(try_connect(path, SOCK_DGRAM), 0);
    fd_close(&fd);
}

static void test_A22_a_stale_file_is_replaced_and_leaves_no_other(void **arg)
{
    struct sockfile_id stale, id;

    (void)arg;
    int fd = bind_listening(&stale);
    fd_close(&fd);
    assert_int_equal(try_connect(path, SOCK_STREAM), -ECONNREFUSED);
    fd = bind_listening(&id);
    assert_true(fd >= 0);
    assert_int_equal(try_connect(path, SOCK_STREAM), 0);
    sockfile_remove(path, &stale); /* not its any more */
    assert_int_equal(try_connect(path, SOCK_STREAM), 0);
    fd_close(&fd);
}

static void test_a_file_that_is_no_socket_is_left_alone(void **arg)
{
    struct sockfile_id id;

    (void)arg;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    fd_close(&fd);
    assert_int_equal(bind_listening(&id), -EEXIST);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(symlink("/nowhere", path), 0);
    assert_int_equal(bind_listening(&id), -EEXIST);
}

/* A group that we may give to a file, and that it has not anyway; -1: there is none. */
static gid_t find_other_group(void)
{
    gid_t groups[64];
    int n = getgroups(64, groups);

    if (geteuid() == 0)
        return getegid() + 1;
    for (int i = 0; i < n; i++)
        if (groups[i] != getegid())
            return groups[i];
    return (gid_t)-1;
}

static gid_t group_of(const char *name)
{
    struct stat st;

    assert_int_equal(lstat(name, &st), 0);
    return st.st_gid;
}

static void test_group_is_given_to_a_new_file_and_to_one_that_is_kept(void **arg)
{
    struct sockfile_id id;
    struct sockfile file = file_of(SOCK_STREAM);

    (void)arg;
    gid_t other = find_other_group();
    if (other == (gid_t)-1)
        skip();
    int fd = bind_listening(&id);
    assert_int_equal(group_of(path), getegid());
    file.gid = other;
    assert_int_equal(sockfile_apply(&file, &id), 0);
    assert_int_equal(group_of(path), other);
    fd_close(&fd);
    sockfile_remove(path, &id);
    fd = sockfile_bind(&file, &id);
    assert_true(fd >= 0);
    assert_int_equal(group_of(path), other);
    fd_close(&fd);
}

static void test_mode_is_not_applied_to_another_file(void **arg)
{
    struct sockfile_id id;
    struct sockfile file = file_of(SOCK_STREAM);
    struct stat st;

    (void)arg;
    int fd = bind_listening(&id);
    assert_true(fd >= 0);
    file.mode = 0600;
    assert_int_equal(sockfile_apply(&file, &id), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    id.ino++;
    assert_int_equal(sockfile_apply(&file, &id), -ESTALE);
    fd_close(&fd);
}

static void test_names_as_long_as_they_may_be(void **arg)
{
    struct sockaddr_un sa;
    char name[120];

    (void)arg;
    memset(name, 'a', sizeof(name));
    name[108] = '\0';
    assert_int_equal(sockfile_address(name, &sa), -ENAMETOOLONG);
    name[107] = '\0';
    assert_true(sockfile_address(name, &sa) > 0);
    memset(name, 'a', sizeof(name));
    name[0] = '@';
    name[109] = '\0';
    assert_int_equal(sockfile_address(name, &sa), -ENAMETOOLONG);
    name[108] = '\0';
    assert_int_equal(sockfile_address(name, &sa), (int)sizeof(sa));
    assert_int_equal(sa.sun_path[0], 0);
    assert_int_equal(sockfile_address("", &sa), -EINVAL);
}

static void test_an_abstract_name_has_no_file_and_is_refused_while_taken(void **arg)
{
    char name[64];
    struct sockfile file = { .path = name, .type = SOCK_STREAM, .mode = 0660, .gid = (gid_t)-1 };
    struct sockfile_id id = { .ino = 1 }, other;

    (void)arg;
    snprintf(name, sizeof(name), "@sockd-test-%d", (int)getpid());
    int fd = sockfile_bind(&file, &id);
    assert_true(fd >= 0);
    assert_int_equal(id.ino, 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(try_connect(name, SOCK_STREAM), 0);
    assert_int_equal(sockfile_bind(&file, &other), -EADDRINUSE);
    fd_close(&fd);
}

int main(void)
{
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(test_what_may_be_done_with_a_file_is_known_before),
        IN_DIR(test_a_new_file_has_the_mode_that_was_asked_for_whatever_the_umask),
        IN_DIR(test_A22_a_live_socket_is_refused_and_goes_on),
        IN_DIR(test_A22_a_live_datagram_socket_is_refused),
        IN_DIR(test_A22_a_stale_file_is_replaced_and_leaves_no_other),
        IN_DIR(test_a_file_that_is_no_socket_is_left_alone),
        IN_DIR(test_group_is_given_to_a_new_file_and_to_one_that_is_kept),
        IN_DIR(test_mode_is_not_applied_to_another_file),
        cmocka_unit_test(test_names_as_long_as_they_may_be),
        cmocka_unit_test(test_an_abstract_name_has_no_file_and_is_refused_while_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
