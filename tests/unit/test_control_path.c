/* Where the control socket is: the places in their order, and directories that are not to be believed. */
#include "test.h"

#include "control_path.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static char directory[] = "/tmp/sockd-test-XXXXXX";
static char path[CONTROL_PATH_MAX], expected[CONTROL_PATH_MAX];

static int make_directory(void **state)
{
    (void)state;
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    unsetenv("RUNTIME_DIRECTORY");
    unsetenv("XDG_RUNTIME_DIR");
    return mkdtemp(directory) && chmod(directory, 0777) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
    char inner[sizeof(directory) + 8];

    (void)state;
    snprintf(inner, sizeof(inner), "%s/sockd", directory);
    rmdir(inner);
    return rmdir(directory);
}

/* Runs TEST in a child that is no root; a failure there is its exit status. */
static void run_as_user(void (*test)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (getuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
            _exit(2);
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* In the child, where cmocka's assertions would go on with the other tests. */
static void expect(int condition)
{
    if (!condition)
        _exit(1);
}

static void test_the_first_runtime_directory_is_taken(void **state)
{
    (void)state;
    setenv("RUNTIME_DIRECTORY", "/run/one:/run/two", 1);
    assert_int_equal(control_path_own(path, sizeof(path)), 0);
    assert_string_equal(path, "/run/one/control.sock");
    assert_int_equal(control_path_find(0, path, sizeof(path)), 0);
    assert_string_equal(path, "/run/one/control.sock");
}

static void test_a_runtime_directory_that_is_not_absolute_is_ignored(void **state)
{
    (void)state;
    setenv("RUNTIME_DIRECTORY", "run", 1);
    assert_int_equal(control_path_find(0, path, sizeof(path)), -ESRCH);
}

static void test_the_daemon_of_the_system_comes_last(void **state)
{
    unsigned place = 0;

    (void)state;
    while (control_path_find(place, path, sizeof(path)) != -ENOENT)
        place++;
    assert_true(place > 0);
    assert_int_equal(control_path_find(place - 1, path, sizeof(path)), 0);
    assert_string_equal(path, "/run/sockd/control.sock");
}

static void use_user_directory(void)
{
    struct stat st;
    char made[CONTROL_PATH_MAX];

    setenv("XDG_RUNTIME_DIR", directory, 1);
    expect(control_path_own(path, sizeof(path)) == 0);
    snprintf(expected, sizeof(expected), "%s/sockd/control.sock", directory);
    expect(strcmp(path, expected) == 0);
    snprintf(made, sizeof(made), "%s/sockd", directory);
    expect(stat(made, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0700);
    expect(control_path_find(1, path, sizeof(path)) == 0 && strcmp(path, expected) == 0);
    rmdir(made);
}

static void test_a_user_gets_a_closed_directory_of_his_own(void **state)
{
    (void)state;
    run_as_user(use_user_directory);
}

static void use_tmp_directory(void)
{
    char made[64];

    snprintf(made, sizeof(made), "/tmp/sockd-%u", (unsigned)geteuid());
    if (access(made, F_OK) == 0)
        _exit(0); /* somebody's, not to be touched */
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    expect(control_path_find(2, path, sizeof(path)) == -ESRCH);
    expect(control_path_own(path, sizeof(path)) == 0);
    expect(strncmp(path, made, strlen(made)) == 0);
    expect(control_path_find(2, path, sizeof(path)) == 0);
    expect(chmod(made, 0755) == 0);
    expect(control_path_own(path, sizeof(path)) == -EPERM);
    expect(control_path_find(2, path, sizeof(path)) == -ESRCH);
    expect(rmdir(made) == 0);
    expect(symlink(directory, made) == 0);
    expect(control_path_own(path, sizeof(path)) == -EPERM);
    expect(unlink(made) == 0);
}

static void test_a_directory_in_tmp_is_believed_only_when_it_is_ours_and_closed(void **state)
{
    (void)state;
    run_as_user(use_tmp_directory);
}

static void test_an_instance_has_a_place_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(control_path_instance("mail", path, sizeof(path)), 0);
    assert_string_equal(path, "/run/sockd-mail/control.sock");
    assert_int_equal(control_path_instance("", path, sizeof(path)), -EINVAL);
    assert_int_equal(control_path_instance("..", path, sizeof(path)), -EINVAL);
    assert_int_equal(control_path_instance("a/b", path, sizeof(path)), -EINVAL);
}

static void test_a_path_that_no_socket_can_have_is_refused(void **state)
{
    char name[200] = { 0 };

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    assert_int_equal(control_path_instance(name, path, sizeof(path)), -ENAMETOOLONG);
    name[0] = '/';
    setenv("RUNTIME_DIRECTORY", name, 1);
    assert_int_equal(control_path_own(path, sizeof(path)), -ENAMETOOLONG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_runtime_directory_is_taken),
        TEST(test_a_runtime_directory_that_is_not_absolute_is_ignored),
        TEST(test_the_daemon_of_the_system_comes_last),
        TEST(test_a_user_gets_a_closed_directory_of_his_own),
        TEST(test_a_directory_in_tmp_is_believed_only_when_it_is_ours_and_closed),
        TEST(test_an_instance_has_a_place_of_its_own),
        TEST(test_a_path_that_no_socket_can_have_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
