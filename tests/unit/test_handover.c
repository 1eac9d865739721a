/* handover.c: what arrives of a connection is what was sent, and what does not hold together is none. */
#include "test.h"

#include "handover.h"

#include "base/fd.h"
#include "base/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int pair[2];
static char sent[HANDOVER_BYTES_MAX + 1], bytes[HANDOVER_BYTES_MAX];

static int open_pair(void **state)
{
    (void)state;
    memset(sent, 'x', sizeof sent);
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
    (void)state;
    fd_close(&pair[0]);
    fd_close(&pair[1]);
    return 0;
}

/* Sends LEN bytes that H says are h->len, with a descriptor. */
static void send_raw(const struct handover *h, size_t len)
{
    const struct iovec parts[] = { { .iov_base = (void *)(uintptr_t)h, .iov_len = sizeof *h },
                                   { .iov_base = sent, .iov_len = len } };

    assert_int_equal(packet_send(pair[0], parts, 2, &pair[0], 1), 0);
}

static void test_the_longest_unfinished_message_arrives_whole(void **state)
{
    const struct handover h = { .service = "echo", .requests = 7, .len = HANDOVER_BYTES_MAX };
    struct handover got;
    int fd = -1;

    (void)state;
    assert_int_equal(handover_send(pair[0], &h, sent, pair[0]), 0);
    assert_int_equal(handover_receive(pair[1], &got, bytes, &fd), 1);
    assert_string_equal(got.service, "echo");
    assert_int_equal(got.requests, 7);
    assert_int_equal(got.len, sizeof bytes);
    assert_memory_equal(bytes, sent, sizeof bytes);
    fd_close(&fd);
    assert_int_equal(handover_receive(pair[1], &got, bytes, &fd), -EAGAIN);
}

static void test_a_length_that_is_not_that_of_the_bytes_is_refused(void **state)
{
    const struct handover h = { .service = "echo", .len = 5 };
    struct handover got;
    int fd = -1;

    (void)state;
    send_raw(&h, 4);
    assert_int_equal(handover_receive(pair[1], &got, bytes, &fd), -EPROTO);
    send_raw(&h, 6);
    assert_int_equal(handover_receive(pair[1], &got, bytes, &fd), -EPROTO);
    assert_int_equal(fd, -1);
}

static void test_more_bytes_than_there_is_room_for_are_refused(void **state)
{
    const struct handover h = { .service = "echo", .len = HANDOVER_BYTES_MAX + 1 };
    struct handover got;
    int fd = -1;

    (void)state;
    send_raw(&h, HANDOVER_BYTES_MAX + 1);
    assert_int_equal(handover_receive(pair[1], &got, bytes, &fd), -EPROTO);
    assert_int_equal(fd, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_longest_unfinished_message_arrives_whole),
        TEST(test_a_length_that_is_not_that_of_the_bytes_is_refused),
        TEST(test_more_bytes_than_there_is_room_for_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
