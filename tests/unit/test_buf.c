/* base/buf.c: what goes in comes out in order, every byte of memory is on the account, and work is linear. */
#include "test.h"

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void test_empty_buffer_owns_nothing(void **arg)
{
    struct account a = { .limit = 1000 };
    struct buf b = { 0 };

    (void)arg;
    assert_null(buf_data(&b));
    assert_int_equal(buf_room(&b), 0);
    assert_int_equal(buf_append(&b, &a, "", 0), 0);
    assert_int_equal(buf_reserve(&b, &a, 0), 0);
    assert_null(b.base);
    buf_consume(&b, &a, 0);
    buf_done(&b, &a);
    assert_int_equal(a.used, 0);
}

static void test_last_byte_taken_gives_memory_back(void **arg)
{
    struct account a = { .limit = 1000 };
    struct buf b = { 0 };

    (void)arg;
    assert_int_equal(buf_append(&b, &a, "hello", 5), 0);
    assert_int_equal(a.used, b.cap);
    buf_consume(&b, &a, 4);
    assert_memory_equal(buf_data(&b), "o", 1);
    buf_consume(&b, &a, 1);
    assert_null(b.base);
    assert_int_equal(a.used, 0);
}

static void test_bytes_keep_their_order_over_any_cuts(void **arg)
{
    struct account a = { .limit = 1 << 20 };
    struct buf b = { 0 };
    unsigned in = 0, out = 0, seed = 1;

    (void)arg;
    for (int i = 0; i < 20000; i++) {
        char chunk[300];
        size_t n = (size_t)rand_r(&seed) % sizeof(chunk), take = (size_t)rand_r(&seed) % 310;

        for (size_t j = 0; j < n; j++)
            chunk[j] = (char)(in++ * 7);
        assert_int_equal(buf_append(&b, &a, chunk, n), 0);
        take = take < b.len ? take : b.len;
        for (size_t j = 0; j < take; j++)
            assert_int_equal(buf_data(&b)[j], (char)(out++ * 7));
        buf_consume(&b, &a, take);
        assert_int_equal(a.used, b.cap);
    }
    assert_int_equal(b.len, in - out);
    buf_done(&b, &a);
    assert_int_equal(a.used, 0);
}

static void test_reserve_gives_room_and_keeps_content(void **arg)
{
    struct account a = { .limit = 1 << 20 };
    struct buf b = { 0 };

    (void)arg;
    assert_int_equal(buf_append(&b, &a, "xxabc", 5), 0);
    buf_consume(&b, &a, 2);
    for (size_t n = 1; n < 5000; n += 97) {
        assert_int_equal(buf_reserve(&b, &a, n), 0);
        assert_true(buf_room(&b) >= n);
        assert_memory_equal(buf_data(&b), "abc", 3);
    }
    buf_done(&b, &a);
}

/* A client that takes a byte at a time while there is always one more to send. */
static void test_small_takes_and_adds_move_few_bytes(void **arg)
{
    static const char block[100000];
    struct account a = { .limit = SIZE_MAX };
    struct buf b = { 0 };
    size_t moved = 0;

    (void)arg;
    assert_int_equal(buf_append(&b, &a, block, sizeof(block)), 0);
    for (int i = 0; i < 200000; i++) {
        uint32_t head;

        buf_consume(&b, &a, 1);
        head = b.head;
        assert_int_equal(buf_append(&b, &a, "x", 1), 0);
        moved += b.head < head ? b.len : 0;
    }
    assert_true(moved < 2000000);
    assert_true(b.cap < 3 * sizeof(block));
    buf_done(&b, &a);
}

static void test_growth_is_exact_where_the_limit_is_near(void **arg)
{
    struct account a = { .limit = 1100 };
    struct buf b = { 0 };
    char block[1000] = { 0 };

    (void)arg;
    assert_int_equal(buf_append(&b, &a, block, 1000), 0);
    assert_false(account_exceeded(&a, 50));
    assert_int_equal(buf_append(&b, &a, block, 50), 0);
    assert_int_equal(a.used, 1050);
    assert_true(account_exceeded(&a, 51));
    assert_int_equal(buf_append(&b, &a, block, 51), 0); /* an owed reply may pass it */
    assert_int_equal(a.used, 1101);
    assert_true(account_exceeded(&a, 0));
    buf_done(&b, &a);
}

static void test_account_comparison_does_not_overflow(void **arg)
{
    struct account a = { .used = 10, .limit = 100 };

    (void)arg;
    assert_false(account_exceeded(&a, 90));
    assert_true(account_exceeded(&a, 91));
    assert_true(account_exceeded(&a, SIZE_MAX));
    a.used = 200;
    assert_true(account_exceeded(&a, 0));
}

static void test_more_than_a_buffer_can_hold_is_refused_unchanged(void **arg)
{
    struct account a = { .limit = SIZE_MAX };
    struct buf b = { 0 }, before;

    (void)arg;
    assert_int_equal(buf_append(&b, &a, "abc", 3), 0);
    before = b;
    assert_int_equal(buf_reserve(&b, &a, BUF_MAX - 2), -EMSGSIZE);
    assert_int_equal(buf_reserve(&b, &a, SIZE_MAX), -EMSGSIZE);
    assert_memory_equal(&b, &before, sizeof(b));
    assert_int_equal(a.used, b.cap);
    buf_done(&b, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_buffer_owns_nothing),
        cmocka_unit_test(test_last_byte_taken_gives_memory_back),
        cmocka_unit_test(test_bytes_keep_their_order_over_any_cuts),
        cmocka_unit_test(test_reserve_gives_room_and_keeps_content),
        cmocka_unit_test(test_small_takes_and_adds_move_few_bytes),
        cmocka_unit_test(test_growth_is_exact_where_the_limit_is_near),
        cmocka_unit_test(test_account_comparison_does_not_overflow),
        cmocka_unit_test(test_more_than_a_buffer_can_hold_is_refused_unchanged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
