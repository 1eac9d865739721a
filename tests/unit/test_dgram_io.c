/* How datagrams come and go: batches, the address that was asked, and peers that take nothing. */
#include "handler/handlers.h"

#include "dgram_try.h"

static void test_more_than_one_batch_is_answered_one_by_one(void **state)
{
    enum { N = 3 * DGRAM_BATCH + 4 };
    char text[16];

    (void)state;
    open_udp("127.0.0.1");
    int one = open_client(), two = open_client();
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        send_to(i % 2 ? one : two, loopback(), text, strlen(text));
    }
    serve_until(N);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_string_equal(hear(i % 2 ? one : two), text);
    }
    assert_int_equal(COUNT(datagrams_out), N);
    close(one);
    close(two);
}

static void test_replies_larger_than_the_batch_has_room_for_all_leave(void **state)
{
    (void)state;
    conf.max_reply_ratio = 0;
    open_udp("127.0.0.1");
    int client = open_client();
    for (int i = 0; i < 4; i++)
        send_to(client, loopback(), "b30000", 6);
    send_to(client, loopback(), "tiny", 4);
    serve_until(5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(strlen(hear(client)), 30000);
    assert_string_equal(hear(client), "tiny");
    close(client);
}

static void test_f7_reply_leaves_from_the_address_that_was_asked(void **state)
{
    struct addr from;

    (void)state;
    open_udp("0.0.0.0");
    int client = open_client();
    send_to(client, "127.0.0.2", "x", 1);
    serve_until(1);
    hear_from(client, &from);
    assert_is(&from, "127.0.0.2");
    assert_is(&last_local, "127.0.0.2");
    send_to(client, "127.0.0.3", "hold", 4);
    send_to(client, "127.0.0.4", "x", 1);
    serve_until(3);
    hear_from(client, &from);
    assert_is(&from, "127.0.0.4");
    request_reply(take_held(), "late", 4);
    assert_string_equal(hear_from(client, &from), "late");
    assert_is(&from, "127.0.0.3");
    close(client);
}

static void test_f7_reply_leaves_from_the_ipv6_address_that_was_asked(void **state)
{
    struct addr from;

    (void)state;
    open_udp("::");
    int client = open_client();
    assert_next_is(client, "x");
    assert_is(&last_local, "::1");
    ask(client, "hold");
    request_reply(take_held(), "late", 4);
    assert_string_equal(hear_from(client, &from), "late");
    assert_is(&from, "::1");
    close(client);
}

/* As systemd opens [::] by default. */
static void test_d15_ipv4_over_an_ipv6_socket_is_answered_as_ipv4(void **state)
{
    struct listen_name name = { .transport = TRANSPORT_UDP, .addr = addr_of("::", 0) };
    struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
    struct addr from;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), off = 0;

    (void)state;
    if (fd < 0)
        skip();
    assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen_socket_adopt(fd, &name), 0);
    open_dgram(fd, TRANSPORT_UDP);
    int client = open_client_at("127.0.0.1", 0);
    send_to(client, "127.0.0.2", "x", 1);
    serve_until(1);
    hear_from(client, &from);
    assert_is(&from, "127.0.0.2");
    assert_is(&last_local, "127.0.0.2");
    close(client);
}

static void test_f9_cut_datagram_is_no_request(void **state)
{
    (void)state;
    open_unix();
    int client = open_unix_client(true);
    assert_int_equal(send(client, big, DGRAM_MAX + 1, 0), DGRAM_MAX + 1);
    serve_until(1);
    assert_next_is(client, "marker");
    assert_int_equal(COUNT(datagrams_too_long), 1);
    close(client);
}

static void test_longest_datagram_that_comes_in_also_goes_out(void **state)
{
    (void)state;
    open_unix();
    served->handler = handlers_find(HANDLER_ECHO);
    int client = open_unix_client(true);
    assert_int_equal(send(client, big, DGRAM_MAX, 0), DGRAM_MAX);
    serve_until(1);
    assert_int_equal(COUNT(failed_reply), 0);
    assert_int_equal(strlen(hear(client)), DGRAM_MAX);
    close(client);
}

static void test_f8_client_that_is_gone_costs_no_other_its_reply(void **state)
{
    (void)state;
    open_udp("127.0.0.1");
    int gone = open_client(), client = open_client();
    send_to(gone, loopback(), "hold", 4);
    send_to(gone, loopback(), "x", 1);
    send_to(client, loopback(), "y", 1);
    close(gone);
    serve_until(3);
    assert_string_equal(hear(client), "y");
    request_reply(take_held(), "late", 4);
    assert_next_is(client, "marker");
    close(client);
}

static void test_f10_unnamed_peer_gets_no_reply_and_does_no_harm(void **state)
{
    (void)state;
    open_unix();
    int unnamed = open_unix_client(false), named = open_unix_client(true);
    ask(unnamed, "x");
    ask(unnamed, "hold");
    request_reply(take_held(), "late", 4);
    assert_int_equal(COUNT(datagrams_unsent), 2);
    assert_next_is(named, "marker");
    close(unnamed);
    close(named);
}

static void test_f10_peer_that_does_not_read_is_not_waited_for(void **state)
{
    (void)state;
    open_unix();
    int client = open_unix_client(true);
    while (COUNT(datagrams_unsent) < 3)
        ask(client, "x");
    ask(client, "hold");
    request_reply(take_held(), "late", 4);
    assert_int_equal(COUNT(datagrams_unsent), 4);
    for (uint64_t n = COUNT(datagrams_out); n > 0; n--)
        assert_string_equal(hear(client), "x");
    assert_next_is(client, "marker");
    close(client);
}

static void test_f10_peer_that_is_gone_costs_its_reply_alone(void **state)
{
    (void)state;
    open_unix();
    int gone = open_unix_client(true);
    assert_int_equal(send(gone, "x", 1, 0), 1);
    close(gone);
    unlink(client_path);
    int client = open_unix_client(false);
    unlink(client_path);
    serve_until(1);
    assert_int_equal(COUNT(datagrams_unsent), 1);
    close(client);
    client = open_unix_client(true);
    assert_next_is(client, "marker");
    close(client);
}

static void cancel_and_answer_others(void *context, struct request *request)
{
    on_cancel(context, request);
    while (n_held > 0)
        request_reply(take_held(), "other", 5);
}

static void test_handler_may_answer_others_when_one_is_cancelled(void **state)
{
    static const struct handler handler = { .request = on_request, .cancel = cancel_and_answer_others };

    (void)state;
    served->handler = &handler;
    open_udp("127.0.0.1");
    int client = open_client();
    for (int i = 0; i < 3; i++)
        ask(client, "hold it");
    dgram_free(dgram);
    dgram = NULL;
    assert_int_equal(COUNT(cancelled), 1);
    assert_int_equal(COUNT(replies), 2);
    assert_string_equal(hear(client), "other");
    close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_more_than_one_batch_is_answered_one_by_one),
        TEST(test_replies_larger_than_the_batch_has_room_for_all_leave),
        TEST(test_f7_reply_leaves_from_the_address_that_was_asked),
        TEST(test_f7_reply_leaves_from_the_ipv6_address_that_was_asked),
        TEST(test_d15_ipv4_over_an_ipv6_socket_is_answered_as_ipv4),
        TEST(test_f9_cut_datagram_is_no_request),
        TEST(test_longest_datagram_that_comes_in_also_goes_out),
        TEST(test_f8_client_that_is_gone_costs_no_other_its_reply),
        TEST(test_f10_unnamed_peer_gets_no_reply_and_does_no_harm),
        TEST(test_f10_peer_that_does_not_read_is_not_waited_for),
        TEST(test_f10_peer_that_is_gone_costs_its_reply_alone),
        TEST(test_handler_may_answer_others_when_one_is_cancelled),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
