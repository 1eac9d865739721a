/* channel.c: one word a packet, and what a packet must not be. */
#include "test.h"

#include "base/fd.h"
#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static int open_pair(void **arg)
{
    (void)arg;
    return fd_channel(pair);
}

static int close_pair(void **arg)
{
    (void)arg;
    fd_close(&pair[0]);
    fd_close(&pair[1]);
    return 0;
}

static void test_a_word_arrives_with_its_value(void **arg)
{
    struct channel_message message;

    (void)arg;
    assert_int_equal(channel_send(pair[0], CHANNEL_RETIRE, 4000000000u), 0);
    assert_int_equal(channel_receive(pair[1], &message, NULL), 1);
    assert_int_equal(message.word, CHANNEL_RETIRE);
    assert_int_equal(message.value, 4000000000u);
}

static void test_words_stay_apart(void **arg)
{
    struct channel_message message;

    (void)arg;
    assert_int_equal(channel_send(pair[0], CHANNEL_READY, 0), 0);
    assert_int_equal(channel_send(pair[0], CHANNEL_PONG, 0), 0);
    assert_int_equal(channel_receive(pair[1], &message, NULL), 1);
    assert_int_equal(message.word, CHANNEL_READY);
    assert_int_equal(channel_receive(pair[1], &message, NULL), 1);
    assert_int_equal(message.word, CHANNEL_PONG);
    assert_int_equal(channel_receive(pair[1], &message, NULL), -EAGAIN);
}

static void test_the_end_of_the_other_side_is_told(void **arg)
{
    struct channel_message message;

    (void)arg;
    fd_close(&pair[0]);
    assert_int_equal(channel_receive(pair[1], &message, NULL), 0);
    assert_int_equal(channel_send(pair[1], CHANNEL_PONG, 0), -EPIPE);
}

static void test_a_packet_of_another_size_is_refused_and_leaves_the_result_alone(void **arg)
{
    struct channel_message message = { .word = 7, .value = 8 };
    static const char long_one[100];

    (void)arg;
    assert_int_equal(send(pair[0], "abc", 3, 0), 3);
    assert_int_equal(send(pair[0], long_one, sizeof(long_one), 0), (int)sizeof(long_one));
    assert_int_equal(channel_send(pair[0], CHANNEL_PONG, 1), 0);
    assert_int_equal(channel_receive(pair[1], &message, NULL), -EPROTO);
    assert_int_equal(channel_receive(pair[1], &message, NULL), -EPROTO);
    assert_int_equal(message.word, 7);
    assert_int_equal(channel_receive(pair[1], &message, NULL), 1);
    assert_int_equal(message.word, CHANNEL_PONG);
}

static void test_a_reader_that_sleeps_never_blocks_the_writer(void **arg)
{
    int r;

    (void)arg;
    for (int i = 0; i < 100000; i++)
        if ((r = channel_send(pair[0], CHANNEL_PING, 0)) < 0)
            break;
    assert_int_equal(r, -EAGAIN);
}

#define MANY (3 * CHANNEL_SET_SPAN - 5)

static void take_set(bool *ret, size_t n)
{
    struct channel_message message;

    while (channel_receive(pair[1], &message, NULL) == 1) {
        assert_int_equal(message.word, CHANNEL_MOVE);
        for (uint32_t i = 0; i < CHANNEL_SET_SPAN; i++) {
            if (!channel_set_has(&message, i))
                continue;
            assert_true(message.value + i < n);
            ret[message.value + i] = true;
        }
    }
}

static void test_a_set_arrives_whole_however_large(void **arg)
{
    static const size_t sizes[] = { 1, 7, 8, 9, CHANNEL_SET_SPAN, CHANNEL_SET_SPAN + 1, MANY };
    static bool set[MANY], got[MANY];

    (void)arg;
    for (size_t step = 1; step < 20; step += 3) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t n = sizes[s];

            memset(got, 0, sizeof got);
            for (size_t i = 0; i < MANY; i++)
                set[i] = i % step == 0 || i == n - 1;
            assert_int_equal(channel_send_set(pair[0], CHANNEL_MOVE, set, n), 0);
            take_set(got, n);
            assert_memory_equal(got, set, n * sizeof *set);
        }
    }
}

static void test_an_empty_set_is_no_packet(void **arg)
{
    static const bool set[MANY];
    struct channel_message message;

    (void)arg;
    assert_int_equal(channel_send_set(pair[0], CHANNEL_MOVE, set, MANY), 0);
    assert_int_equal(channel_receive(pair[1], &message, NULL), -EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_word_arrives_with_its_value, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_words_stay_apart, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_the_end_of_the_other_side_is_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_a_packet_of_another_size_is_refused_and_leaves_the_result_alone,
                                        open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_a_set_arrives_whole_however_large, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_an_empty_set_is_no_packet, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(test_a_reader_that_sleeps_never_blocks_the_writer, open_pair,
                                        close_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
