/* spawner_packet.c and spawner_line.c: packets between a worker and the spawner, over real sockets. */
#include "crowd.h"
#include "test.h"

#include "base/fd.h"
#include "spawner_line.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
    struct spawner_line line;
    uint64_t last_token;
    unsigned packets, fds, lost;
};

static struct loop loop;
static struct end a, b;

static void on_packet(struct spawner_line *line, const struct spawner_packet *packet,
                      int fds[SPAWNER_FDS_MAX])
{
    struct end *end = container_of(line, struct end, line);

    assert_int_equal(packet->token, end->last_token + 1);
    end->last_token = packet->token;
    end->packets++;
    for (int i = 0; i < SPAWNER_FDS_MAX; i++) {
        if (fds[i] < 0)
            continue;
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        end->fds++;
        fd_close(&fds[i]);
    }
}

static void on_lost(struct spawner_line *line)
{
    container_of(line, struct end, line)->lost++;
}

static void init_end(struct end *end, int fd)
{
    *end = (struct end){ .lost = 0 };
    spawner_line_init(&end->line, &loop);
    end->line.on_packet = on_packet;
    end->line.on_lost = on_lost;
    assert_int_equal(spawner_line_open(&end->line, fd), 0);
}

static int set_up(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(fd_channel(pair), 0);
    init_end(&a, pair[0]);
    init_end(&b, pair[1]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    spawner_line_close(&a.line);
    spawner_line_close(&b.line);
    loop_done(&loop);
    return 0;
}

static void send_n(unsigned n, int with_fds)
{
    for (unsigned i = 1; i <= n; i++) {
        struct spawner_packet packet = { .word = SPAWNER_STARTED, .token = a.last_token + i };
        int fds[2] = { dup(0), dup(0) };
        for (int j = with_fds; j < 2; j++)
            fd_close(&fds[j]);
        assert_int_equal(spawner_line_send(&a.line, &packet, fds, with_fds), 0);
    }
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_packets_wait_when_the_other_side_is_slow_and_come_in_order(void **state)
{
    unsigned before = count_fds();

    (void)state;
    send_n(2000, 0);
    assert_false(list_empty(&a.line.waiting));
    while (b.packets < 2000)
        loop_turn(&loop, 1000);
    assert_true(list_empty(&a.line.waiting));
    assert_int_equal(b.fds, 0);
    assert_int_equal(count_fds(), before);
}

static void test_descriptors_travel_with_their_packets_and_none_is_left(void **state)
{
    unsigned before = count_fds();

    (void)state;
    send_n(100, 2);
    while (b.packets < 100)
        loop_turn(&loop, 1000);
    assert_int_equal(b.fds, 200);
    assert_int_equal(count_fds(), before);
}

static void test_a_line_that_is_held_reads_nothing_and_forgets_nothing(void **state)
{
    (void)state;
    send_n(10, 2);
    spawner_line_hold(&b.line);
    spawner_line_close(&a.line);
    for (int i = 0; i < 3; i++)
        loop_turn(&loop, 0); /* its end has not been heard, and is no reason to wake */
    assert_true(spawner_line_is_held(&b.line));
    assert_int_equal(b.packets + b.lost, 0);
    assert_int_equal(spawner_line_go_on(&b.line), 0);
    while (!b.lost)
        loop_turn(&loop, 1000);
    assert_int_equal(b.packets, 10);
    assert_false(spawner_line_is_held(&b.line));
}

/* They are on another pair. How often the loop wakes in a fifth of a second; -1: not all came after it.
 */
static int count_turns_with_too_many_on_their_way(void *arg)
{
    (void)arg;
    const struct spawner_packet packet = { .word = SPAWNER_STARTED };
    int turns = 0, other[2], fd = 0;

    if (crowd_enter(other) < 0)
        return -1;
    while (spawner_send(other[0], &packet, &fd, 1) == 0)
        ;
    send_n(10, 1);
    for (uint64_t until_us = loop_read_clock() + 200000; loop_read_clock() < until_us; turns++)
        loop_turn(&loop, 200);
    fd_close(&other[0]);
    fd_close(&other[1]);
    for (int i = 0; b.packets < 10 && i < 100; i++)
        loop_turn(&loop, 1000);
    return b.packets == 10 && b.fds == 10 ? turns : -1;
}

static void test_too_many_descriptors_on_their_way_are_no_reason_to_spin(void **state)
{
    (void)state;
    crowd_assert_no_spin(count_turns_with_too_many_on_their_way, NULL);
}

static void test_the_end_of_the_other_side_is_told_once_after_its_last_words(void **state)
{
    (void)state;
    send_n(3, 1);
    spawner_line_close(&a.line);
    while (!b.lost)
        loop_turn(&loop, 1000);
    assert_int_equal(b.packets, 3);
    assert_int_equal(b.lost, 1);
    assert_false(spawner_line_is_open(&b.line));
}

static void test_what_waits_when_the_line_is_closed_is_closed_too(void **state)
{
    unsigned before = count_fds();

    (void)state;
    send_n(600, 1);
    assert_false(list_empty(&a.line.waiting));
    spawner_line_close(&a.line);
    spawner_line_close(&b.line);
    assert_true(count_fds() <= before);
}

static void test_a_line_that_is_not_connected_takes_the_descriptors_all_the_same(void **state)
{
    struct spawner_packet packet = { .word = SPAWNER_PROGRAM };
    int fd = dup(0);

    (void)state;
    spawner_line_close(&a.line);
    assert_int_equal(spawner_line_send(&a.line, &packet, &fd, 1), -ENOTCONN);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_what_is_no_packet_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(send(a.line.fd, "abc", 3, 0), 3);
    send_n(1, 0);
    while (b.packets < 1)
        loop_turn(&loop, 1000);
    assert_int_equal(b.lost, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_packets_wait_when_the_other_side_is_slow_and_come_in_order,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors_travel_with_their_packets_and_none_is_left, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_that_is_held_reads_nothing_and_forgets_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_descriptors_on_their_way_are_no_reason_to_spin, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_of_the_other_side_is_told_once_after_its_last_words,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_waits_when_the_line_is_closed_is_closed_too, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_that_is_not_connected_takes_the_descriptors_all_the_same,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_packet_is_ignored, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
