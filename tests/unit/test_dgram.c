/* Who is answered: what a datagram socket takes, drops, holds, cancels and counts. */
#include "handler/handlers.h"

#include "dgram_try.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/udp.h>

static void test_datagram_gets_its_reply_and_is_counted(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "Hello");
    assert_string_equal(hear(client), "Hello");
    assert_int_equal(COUNT(datagrams_in), 1);
    assert_int_equal(COUNT(requests), 1);
    assert_int_equal(COUNT(replies), 1);
    assert_int_equal(COUNT(datagrams_out), 1);
    assert_int_equal(COUNT(bytes_in), 5);
    assert_int_equal(COUNT(bytes_out), 5);
    assert_int_equal(stats_get(&page->jobs), 1);
    close(client);
}

static void test_empty_reply_sends_nothing(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    served->handler = handlers_find(HANDLER_ECHO);
    int client = open_client();
    ask(client, "");
    assert_next_is(client, "marker");
    assert_int_equal(COUNT(replies), 2);
    assert_int_equal(COUNT(datagrams_out), 1);
    close(client);
}

static void test_silence_sends_nothing(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "silence");
    assert_next_is(client, "marker");
    assert_int_equal(COUNT(silences), 1);
    close(client);
}

static void test_held_request_keeps_its_bytes_while_others_come(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "hold me");
    assert_true(dgram_is_busy(dgram));
    assert_int_equal(COUNT(in_hand), 1);
    assert_next_is(client, "overwrites");
    struct request *request = take_held();
    assert_int_equal(request->len, 7);
    assert_memory_equal(request->data, "hold me", 7);
    request_reply(request, request->data, request->len);
    assert_string_equal(hear(client), "hold me");
    assert_false(dgram_is_busy(dgram));
    close(client);
}

static void test_held_request_may_end_while_another_is_served(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int one = open_client(), two = open_client();
    ask(one, "hold it");
    ask(two, "answer both");
    assert_string_equal(hear(one), "other");
    assert_string_equal(hear(two), "answer both");
    close(one);
    close(two);
}

static void test_free_cancels_what_is_held(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "hold");
    ask(client, "");
    dgram_free(dgram);
    dgram = NULL;
    assert_int_equal(n_cancelled, 2);
    assert_int_equal(COUNT(cancelled), 2);
    assert_int_equal(COUNT(in_hand), 0);
    close(client);
}

static void test_handler_that_is_late_is_cancelled_without_a_word(void **state)
{
    (void)state;
    served->datagram.span_ms = 5;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "hold");
    while (n_held > 0)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_int_equal(COUNT(failed_timeout), 1);
    assert_int_equal(n_cancelled, 1);
    assert_next_is(client, "marker");
    close(client);
}

static void test_f6_failure_is_never_answered(void **state)
{
    char text[] = "sorry";

    (void)state;
    conf.error_reply = (struct bytes){ .data = text, .len = 5 };
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "fail");
    ask(client, "hold");
    request_fail(take_held(), REQUEST_FAILED_REPLY);
    assert_next_is(client, "marker");
    assert_int_equal(COUNT(failed_handler), 1);
    assert_int_equal(COUNT(failed_reply), 1);
    close(client);
}

static void test_f9_too_long_is_dropped_and_the_longest_served(void **state)
{
    (void)state;
    conf.max_request = 8;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "123456789");
    assert_next_is(client, "12345678");
    assert_int_equal(COUNT(datagrams_too_long), 1);
    assert_int_equal(COUNT(requests), 1);
    close(client);
}

static void test_f2_own_port_as_sender_is_dropped(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client(), other = open_client();
    work.own_ports = calloc(2, sizeof *work.own_ports);
    work.own_ports[work.n_own_ports++] = listener.addr.port;
    work.own_ports[work.n_own_ports++] = own_addr(client).port;
    ask(client, "x");
    assert_next_is(other, "marker");
    assert_int_equal(COUNT(datagrams_bad_sender), 1);
    assert_int_equal(COUNT(requests), 1);
    close(client);
    close(other);
}

static void test_f2_datagram_from_ourselves_dies(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    work.own_ports = calloc(1, sizeof *work.own_ports);
    work.own_ports[work.n_own_ports++] = listener.addr.port;
    ask(listener.fd, "x");
    assert_int_equal(COUNT(datagrams_bad_sender), 1);
    assert_int_equal(COUNT(datagrams_out), 0);
}

/* A client at a free low port, or -1 where that is not allowed. */
static int open_low_client(void)
{
    int fd = -1;

    for (uint16_t port = 1023; fd < 0 && port > 1000; port--)
        fd = open_client_at("127.0.0.1", port);
    return fd;
}

static void test_f2_low_port_as_sender_is_dropped_unless_allowed(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int low = open_low_client();
    if (low < 0)
        skip();
    ask(low, "x");
    assert_int_equal(COUNT(datagrams_bad_sender), 1);
    conf.low_ports = true;
    assert_next_is(low, "marker");
    close(low);
}

/* A UDP datagram from a source port that no socket can have. False where that is not allowed. */
static bool send_raw(uint16_t source_port, const char *text)
{
    struct {
        struct udphdr head;
        char data[8];
    } packet = { .head = { .source = htons(source_port), .dest = htons(listener.addr.port) } };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    size_t len = sizeof packet.head + strlen(text);
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);

    if (fd < 0)
        return false;
    assert_true(strlen(text) <= sizeof packet.data);
    packet.head.len = htons((uint16_t)len);
    memcpy(packet.data, text, strlen(text));
    assert_int_equal(sendto(fd, &packet, len, 0, (struct sockaddr *)&to, sizeof to), (ssize_t)len);
    close(fd);
    return true;
}

/* Senders from networks and groups never come so far, the kernel drops them; see test_addr.c for those. */
static void test_f2_port_0_as_sender_is_dropped_even_where_low_ones_are_allowed(void **state)
{
    (void)state;
    conf.low_ports = true;
    open_udp("127.0.0.1");
    if (!send_raw(0, "x"))
        skip();
    serve_until(1);
    assert_int_equal(COUNT(datagrams_bad_sender), 1);
    assert_int_equal(COUNT(requests), 0);
    assert_true(send_raw(1, "silence"));
    serve_until(2);
    assert_int_equal(COUNT(silences), 1);
}

static void test_f9_datagram_without_a_checksum_is_served(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    if (!send_raw(40000, "silence"))
        skip();
    serve_until(1);
    assert_int_equal(COUNT(silences), 1);
}

static void test_f5_flood_gets_one_batch_where_others_have_their_turn(void **state)
{
    enum { N = 4 * DGRAM_BATCH };

    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    for (int i = 0; i < N; i++)
        send_to(client, loopback(), "s", 1);
    for (uint64_t before; (before = COUNT(datagrams_in)) < N;) {
        assert_int_equal(loop_turn(&loop, 0), 0);
        assert_in_range(COUNT(datagrams_in) - before, 1, DGRAM_BATCH);
    }
    close(client);
}

static void test_f4_reply_is_no_longer_than_the_ratio_allows(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "b9    ");
    ask(client, "b3");
    assert_int_equal(COUNT(datagrams_ratio), 2);
    assert_int_equal(COUNT(datagrams_out), 0);
    ask(client, "b2");
    assert_string_equal(hear(client), "BB");
    conf.max_reply_ratio = 2;
    ask(client, "b4");
    assert_string_equal(hear(client), "BBBB");
    ask(client, "b5");
    assert_int_equal(COUNT(datagrams_ratio), 3);
    conf.max_reply_ratio = 0;
    ask(client, "b9");
    assert_string_equal(hear(client), "BBBBBBBBB");
    close(client);
}

static void test_f4_late_reply_is_held_to_the_ratio_too(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "hold");
    request_reply(take_held(), "12345", 5);
    assert_int_equal(COUNT(datagrams_ratio), 1);
    assert_next_is(client, "marker");
    close(client);
}

static void test_reply_over_max_reply_is_a_failure_and_not_sent(void **state)
{
    (void)state;
    conf.max_reply = 3;
    conf.max_reply_ratio = 0;
    open_udp("127.0.0.1");
    int client = open_client();
    ask(client, "b4");
    ask(client, "b3");
    assert_string_equal(hear(client), "BBB");
    assert_int_equal(COUNT(failed_reply), 1);
    assert_int_equal(COUNT(replies), 1);
    close(client);
}

static void test_denied_sender_is_dropped(void **state)
{
    struct net net;

    (void)state;
    assert_int_equal(net_parse("127.0.0.9", &net), 0);
    conf.deny = (struct nets){ .item = &net, .len = 1 };
    open_udp("127.0.0.1");
    int denied = open_client_at("127.0.0.9", 0), client = open_client();
    ask(denied, "x");
    assert_int_equal(COUNT(refused_denied), 1);
    assert_next_is(client, "marker");
    assert_int_equal(COUNT(requests), 1);
    close(denied);
    close(client);
}

/* An IPv4 address of this machine that is not loopback; what is sent to it stays in the machine. */
static bool find_own_address(char ret[INET_ADDRSTRLEN])
{
    struct ifaddrs *all;
    bool found = false;

    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *a = all; a && !found; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || (a->ifa_flags & IFF_LOOPBACK))
            continue;
        const struct sockaddr_in *sin = (const struct sockaddr_in *)(const void *)a->ifa_addr;
        found = inet_ntop(AF_INET, &sin->sin_addr, ret, INET_ADDRSTRLEN) != NULL;
    }
    freeifaddrs(all);
    return found;
}

static void test_f1_source_has_a_rate_and_loopback_has_none(void **state)
{
    char host[INET_ADDRSTRLEN];

    (void)state;
    open_udp("0.0.0.0");
    int client = open_client();
    conf.max_datagrams_per_source = 4;
    for (int i = 0; i < 9; i++)
        assert_next_is(client, "x");
    close(client);
    if (!find_own_address(host))
        skip();
    client = open_client_at(host, 0);
    for (unsigned i = 0; i < 100; i++)
        send_to(client, host, "s", 1);
    serve_until(109);
    assert_in_range(COUNT(silences), 4, 8); /* of one second, or of two */
    assert_int_equal(COUNT(silences) + COUNT(refused_source), 100);
    close(client);
}

static void test_memory_bounds_what_is_held_even_of_empty_datagrams(void **state)
{
    (void)state;
    work.memory.limit = 8192;
    open_udp("127.0.0.1");
    int client = open_client();
    for (int i = 0; i < 100; i++)
        ask(client, "");
    assert_true(work.memory.used <= work.memory.limit);
    assert_in_range(n_held, 1, 64);
    assert_int_equal(COUNT(ended_memory), 100 - n_held);
    assert_int_equal(n_cancelled, 100 - n_held);
    dgram_free(dgram);
    dgram = NULL;
    close(client);
}

static void test_leaving_serves_what_has_come_and_then_nothing(void **state)
{
    enum { N = DGRAM_BATCH + 5 };

    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    for (int i = 0; i < N; i++)
        send_to(client, loopback(), "x", 1);
    dgram_leave(dgram, true);
    assert_int_equal(COUNT(datagrams_out), N);
    send_to(client, loopback(), "y", 1);
    dgram_rearm(dgram);
    assert_int_equal(loop_turn(&loop, 0), 0);
    assert_int_equal(COUNT(datagrams_in), N);
    close(client);
}

static int flooding_client;

static void on_request_sends_one_more(void *context, struct request *request)
{
    (void)context;
    send_to(flooding_client, loopback(), request->data, request->len);
    request_silence(request);
}

static const struct handler flooded = { .request = on_request_sends_one_more };

static void test_leaving_ends_although_ever_more_comes(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    served->handler = &flooded;
    flooding_client = open_client();
    for (int i = 0; i < 2 * DGRAM_BATCH; i++)
        send_to(flooding_client, loopback(), "x", 1);
    dgram_leave(dgram, true);
    assert_true(COUNT(datagrams_in) >= 2 * DGRAM_BATCH);
    close(flooding_client);
}

static void test_late_reply_leaves_also_when_the_listener_was_closed_meanwhile(void **state)
{
    struct addr from;

    (void)state;
    open_udp("0.0.0.0");
    int client = open_client();
    uint16_t port = listener.addr.port;
    send_to(client, "127.0.0.2", "hold", 4);
    serve_until(1);
    dgram_leave(dgram, true);
    fd_close(&listener.fd);
    request_reply(take_held(), "late", 4);
    assert_string_equal(hear_from(client, &from), "late");
    assert_is(&from, "127.0.0.2");
    close(client);
    /* And then the port is free. */
    client = open_client_at("0.0.0.0", port);
    assert_true(client >= 0);
    close(client);
}

static void test_rearmed_socket_goes_on(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int client = open_client();
    send_to(client, loopback(), "1st", 3);
    dgram_rearm(dgram);
    serve_until(1);
    assert_string_equal(hear(client), "1st");
    assert_next_is(client, "then");
    close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_datagram_gets_its_reply_and_is_counted),
        TEST(test_empty_reply_sends_nothing),
        TEST(test_silence_sends_nothing),
        TEST(test_held_request_keeps_its_bytes_while_others_come),
        TEST(test_held_request_may_end_while_another_is_served),
        TEST(test_free_cancels_what_is_held),
        TEST(test_handler_that_is_late_is_cancelled_without_a_word),
        TEST(test_f6_failure_is_never_answered),
        TEST(test_f9_too_long_is_dropped_and_the_longest_served),
        TEST(test_f2_own_port_as_sender_is_dropped),
        TEST(test_f2_datagram_from_ourselves_dies),
        TEST(test_f2_low_port_as_sender_is_dropped_unless_allowed),
        TEST(test_f2_port_0_as_sender_is_dropped_even_where_low_ones_are_allowed),
        TEST(test_f9_datagram_without_a_checksum_is_served),
        TEST(test_f5_flood_gets_one_batch_where_others_have_their_turn),
        TEST(test_f4_reply_is_no_longer_than_the_ratio_allows),
        TEST(test_f4_late_reply_is_held_to_the_ratio_too),
        TEST(test_reply_over_max_reply_is_a_failure_and_not_sent),
        TEST(test_denied_sender_is_dropped),
        TEST(test_f1_source_has_a_rate_and_loopback_has_none),
        TEST(test_memory_bounds_what_is_held_even_of_empty_datagrams),
        TEST(test_leaving_serves_what_has_come_and_then_nothing),
        TEST(test_leaving_ends_although_ever_more_comes),
        TEST(test_late_reply_leaves_also_when_the_listener_was_closed_meanwhile),
        TEST(test_rearmed_socket_goes_on),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
