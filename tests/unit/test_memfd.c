/* memfd.c: what is in the file, and that nobody changes it any more. */
#include "base/memfd.h"

#include "base/fd.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void test_it_holds_the_bytes_from_its_beginning(void **state)
{
    static const char text[] = "one\0two";
    char back[16] = "";
    int fd = memfd_sealed("test", text, sizeof text);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, back, sizeof back, 0), sizeof text);
    assert_memory_equal(back, text, sizeof text);
    fd_close(&fd);
}

static void test_nothing_is_an_empty_file(void **state)
{
    int fd = memfd_sealed("test", "", 0);
    char byte;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 0), 0);
    fd_close(&fd);
}

static void test_large_text_is_whole(void **state)
{
    size_t size = 5 << 20;
    char *text = malloc(size), *back = malloc(size);

    (void)state;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(i * 7 % 251);
    int fd = memfd_sealed("test", text, size);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, back, size, 0), size);
    assert_memory_equal(back, text, size);
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)size);
    fd_close(&fd);
    free(text);
    free(back);
}

static void test_nobody_can_write_grow_or_shrink_it(void **state)
{
    int fd = memfd_sealed("test", "text", 4);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "T", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(pwrite(fd, "s", 1, 4), -1);
    assert_int_equal(ftruncate(fd, 3), -1);
    assert_int_equal(ftruncate(fd, 5), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), -1);
    fd_close(&fd);
}

static void test_a_copy_has_what_the_file_had_and_no_less(void **state)
{
    char got[8] = "";
    int file = memfd_sealed("file", "abcdef", 6);

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    int copy = memfd_copy("copy", file, 6);
    assert_true(copy >= 0);
    assert_int_equal(pread(copy, got, sizeof got, 0), 6);
    assert_string_equal(got, "abcdef");
    assert_int_equal(pwrite(copy, "x", 1, 0), -1);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(memfd_copy("copy", file, 7), -EIO);
    fd_close(&copy);
    fd_close(&file);
}

static void test_no_other_program_inherits_it(void **state)
{
    int fd = memfd_sealed("test", "text", 4);

    (void)state;
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    fd_close(&fd);
}

static void test_a_name_that_is_too_long_is_an_error(void **state)
{
    char name[300];

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(memfd_sealed(name, "text", 4), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds_the_bytes_from_its_beginning),
        cmocka_unit_test(test_nothing_is_an_empty_file),
        cmocka_unit_test(test_large_text_is_whole),
        cmocka_unit_test(test_nobody_can_write_grow_or_shrink_it),
        cmocka_unit_test(test_a_copy_has_what_the_file_had_and_no_less),
        cmocka_unit_test(test_no_other_program_inherits_it),
        cmocka_unit_test(test_a_name_that_is_too_long_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
