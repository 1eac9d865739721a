/* Connections over real socket pairs, with a handler of the test's own that answers when it is told to. */
#include "conn_world.h"

/* Finishes an older request of another connection before it answers its own. */
static void answer_other_first(void *context, struct request *request)
{
    (void)context;
    if (n_held > 0)
        answer("other");
    if (request->len == 4 && memcmp(request->data, "hold", 4) == 0)
        hold(NULL, request);
    else
        request_reply(request, request->data, request->len);
}

static const struct handler crossing = { .request = answer_other_first, .cancel = forget };

static int taken_fd = -1;
static void (*taken_done)(void *);
static void *taken_token;

static int take(void *context, int fd, const struct addr *peer, const struct addr *local,
                void (*done)(void *), void *token)
{
    (void)context;
    (void)peer;
    (void)local;
    taken_fd = fd;
    taken_done = done;
    taken_token = token;
    return 0;
}

static const struct handler taker = { .take = take };

static void test_half_close_gets_every_byte_back(void **state)
{
    struct world *w = *state;
    int client = open_client(w, NULL);

    say(client, "I am your hero!!!");
    shutdown(client, SHUT_WR);
    assert_string_equal(hear(w, client), "I am your hero!!!EOF");
    close(client);
}

static void test_any_chunking_gives_the_same_replies(void **state)
{
    static const char input[] = "one\ntwo\r\n\n\rfour\nlast";
    struct world *w = *state;

    for (size_t cut = 1; cut < sizeof input - 1; cut++) {
        int client = open_client(w, NULL);

        for (size_t at = 0; at < sizeof input - 1; at += cut) {
            size_t n = sizeof input - 1 - at < cut ? sizeof input - 1 - at : cut;

            assert_int_equal(write(client, input + at, n), (ssize_t)n);
            settle(w);
        }
        shutdown(client, SHUT_WR);
        assert_string_equal(hear(w, client), "one\ntwo\r\n\n\rfour\nlastEOF");
        close(client);
    }
}

static void test_late_replies_keep_their_order(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &late);

    say(client, "a\nb\nc");
    assert_string_equal(hear(w, client), "");
    assert_int_equal(n_held, 1);
    assert_memory_equal(held[0]->data, "a", 1);
    answer("A");
    assert_string_equal(hear(w, client), "A\n");
    assert_int_equal(n_held, 1);
    request_silence(take_held());
    say(client, "c\n");
    assert_string_equal(hear(w, client), "");
    assert_int_equal(held[0]->len, 2);
    answer("CC");
    assert_string_equal(hear(w, client), "CC\n");
    close(client);
    settle(w);
}

static void test_client_that_leaves_cancels_its_request(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &late);

    say(client, "a\nb\n");
    settle(w);
    close(client);
    settle(w);
    assert_int_equal(n_cancelled, 1);
    assert_int_equal(n_held, 0);
    assert_int_equal(stats_get(&w->served->stats->cancelled), 1);
    assert_int_equal(stats_get(&w->page->connections), 0);
}

static void test_half_closed_client_waits_for_a_late_reply(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &late);

    say(client, "a\nb");
    shutdown(client, SHUT_WR);
    settle(w);
    answer("A");
    settle(w);
    answer("B");
    assert_string_equal(hear(w, client), "A\nBEOF");
    close(client);
}

static void test_failure_with_error_reply_keeps_the_connection(void **state)
{
    struct world *w = *state;
    char text[] = "sorry";

    w->conf.error_reply = (struct bytes){ .data = text, .len = 5 };
    int client = open_client(w, &late);
    say(client, "a\nb\n");
    settle(w);
    request_fail(take_held(), REQUEST_FAILED_HANDLER);
    assert_string_equal(hear(w, client), "sorry\n");
    answer("B");
    assert_string_equal(hear(w, client), "B\n");
    close(client);
    settle(w);
}

static void test_failure_without_error_reply_ends_the_connection(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &late);

    say(client, "a\nb\n");
    settle(w);
    request_fail(take_held(), REQUEST_FAILED_HANDLER);
    assert_string_equal(hear(w, client), "EOF");
    assert_int_equal(n_held, 0);
    close(client);
    settle(w);
}

static void test_reply_with_newline_is_the_handlers_failure(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &late);

    say(client, "a\n");
    settle(w);
    request_reply(take_held(), "x\ny", 3);
    assert_string_equal(hear(w, client), "EOF");
    assert_int_equal(stats_get(&w->served->stats->failed_reply), 1);
    close(client);
    settle(w);
}

static void test_replies_to_two_connections_never_mix(void **state)
{
    struct world *w = *state;
    int one = open_client(w, &crossing), two = open_client(w, NULL);

    say(one, "x\nhold\ny\n");
    assert_string_equal(hear(w, one), "x\n");
    say(two, "a\nb\nc\n");
    assert_string_equal(hear(w, two), "a\nb\nc\n");
    assert_string_equal(hear(w, one), "other\ny\n");
    close(one);
    close(two);
    settle(w);
}

static void test_handler_may_finish_a_connection_that_is_gone_meanwhile(void **state)
{
    struct world *w = *state;
    int one = open_client(w, &crossing), two = open_client(w, NULL);

    say(one, "hold\n");
    settle(w);
    close(one);
    say(two, "a\n");
    assert_string_equal(hear(w, two), "a\n");
    close(two);
    settle(w);
}

static void test_slow_client_gets_all_of_a_large_reply(void **state)
{
    struct world *w = *state;
    size_t size = 1 << 20, got = 0;
    char *reply = malloc(size), *back = malloc(size);
    int client = open_client(w, &late);

    for (size_t i = 0; i < size; i++)
        reply[i] = (char)('A' + i * 7 % 53);
    say(client, "a\nb\n");
    settle(w);
    request_reply(take_held(), reply, size);
    settle(w);
    assert_int_equal(n_held, 0);
    while (got < size) {
        ssize_t n = read(client, back + got, size - got < 5000 ? size - got : 5000);

        if (n > 0)
            got += (size_t)n;
        else
            assert_int_equal(errno, EAGAIN);
        assert_int_equal(loop_turn(&w->loop, 0), 0);
    }
    assert_memory_equal(reply, back, size);
    assert_string_equal(hear(w, client), "\n");
    assert_int_equal(n_held, 1);
    answer("B");
    assert_string_equal(hear(w, client), "B\n");
    close(client);
    settle(w);
    free(reply);
    free(back);
}

static void test_idle_connection_owns_no_buffer(void **state)
{
    struct world *w = *state;
    int client = open_client(w, NULL);

    say(client, "hello\n");
    assert_string_equal(hear(w, client), "hello\n");
    assert_int_equal(w->work.memory.used, 0);
    say(client, "unfinished");
    settle(w);
    assert_true(w->work.memory.used > 0);
    say(client, "\n");
    assert_string_equal(hear(w, client), "unfinished\n");
    assert_int_equal(w->work.memory.used, 0);
    close(client);
    settle(w);
}

static void test_buffer_of_a_long_message_is_no_longer_than_it(void **state)
{
    struct world *w = *state;
    const size_t len = 1 << 20, frame_len = len + sizeof "1048576:," - 1;
    char *frame = malloc(frame_len + 1);

    w->conf.framing = (struct framing){ .kind = FRAME_NETSTRING };
    w->conf.max_request = (uint32_t)len;
    int client = open_client(w, &late);
    memset(frame, 'x', frame_len);
    memcpy(frame, "1048576:", 8);
    frame[frame_len - 1] = ',';
    for (size_t at = 0; at < frame_len;) {
        ssize_t n = write(client, frame + at, frame_len - at);

        at += n > 0 ? (size_t)n : 0;
        loop_turn(&w->loop, 0);
    }
    settle(w);
    assert_int_equal(n_held, 1);
    assert_int_equal(w->work.memory.used, frame_len);
    free(frame);
    close(client);
    settle(w);
}

static void test_oversized_message_comes_after_the_replies_owed(void **state)
{
    struct world *w = *state;
    char text[] = "too long";

    w->conf.max_request = 8;
    w->conf.error_reply = (struct bytes){ .data = text, .len = 8 };
    int client = open_client(w, NULL);
    say(client, "ok\n123456789\nmore\n");
    assert_string_equal(hear(w, client), "ok\ntoo long\nEOF");
    assert_int_equal(stats_get(&w->served->stats->failed_too_long), 0);
    close(client);
    settle(w);
    assert_int_equal(stats_get(&w->served->stats->failed_too_long), 1);
}

static void test_request_limit_ends_politely(void **state)
{
    struct world *w = *state;

    w->conf.max_requests_per_connection = 2;
    int client = open_client(w, NULL);
    say(client, "1\n2\n3\n");
    assert_string_equal(hear(w, client), "1\n2\nEOF");
    close(client);
    settle(w);
}

static void count_bytes(void *context, struct request *request)
{
    (void)context;
    request_silence(request);
}

static const struct handler counting = { .request = count_bytes };

static void test_D17_one_that_floods_is_read_once_where_each_other_is(void **state)
{
    static char flood[WORK_SCRATCH];
    struct world *w = *state;
    int room = 1 << 20, bulk = open_client(w, &counting), other = open_client(w, NULL);
    uint64_t sent = 0, before;
    ssize_t n;

    memset(flood, 'x', sizeof flood);
    for (size_t i = 63; i < sizeof flood; i += 64)
        flood[i] = '\n';
    setsockopt(bulk, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    while ((n = write(bulk, flood, 4096)) > 0)
        sent += (uint64_t)n;
    assert_true(sent > 2 * WORK_SCRATCH);
    say(other, "ping\n");
    for (int turns = 0; (before = stats_get(&w->served->stats->bytes_in)) < sent + 5; turns++) {
        assert_int_equal(loop_turn(&w->loop, 0), 0);
        assert_in_range(stats_get(&w->served->stats->bytes_in) - before, 1, WORK_SCRATCH + (turns ? 0 : 5));
    }
    close(bulk);
    close(other);
    settle(w);
}

static void test_daytime_speaks_first_and_ends(void **state)
{
    struct world *w = *state;

    w->conf.handler = HANDLER_DAYTIME;
    int client = open_client(w, NULL);
    const char *text = hear(w, client);
    assert_non_null(strstr(text, "\r\nEOF"));
    assert_non_null(strstr(text, ", 20"));
    close(client);
    settle(w);
}

static void test_taken_connection_counts_until_it_is_over(void **state)
{
    struct world *w = *state;
    int client = open_client(w, &taker);

    assert_true(taken_fd >= 0);
    assert_int_equal(stats_get(&w->page->connections), 1);
    say(client, "all yours");
    char text[16];
    assert_int_equal(read(taken_fd, text, sizeof text), 9);
    close(taken_fd);
    taken_done(taken_token);
    assert_int_equal(stats_get(&w->page->connections), 0);
    close(client);
}

static void test_full_memory_stops_large_messages_and_spares_small_ones(void **state)
{
    struct world *w = *state;
    enum { N = 16 };
    static char half[300000];
    int big[N];

    w->conf.max_request = 1 << 20;
    int small = open_client(w, NULL);
    memset(half, 'x', sizeof half);
    for (int i = 0; i < N; i++) {
        big[i] = open_client(w, NULL);
        for (size_t at = 0; at < sizeof half && w->work.memory.used < w->work.memory.limit;) {
            ssize_t n = write(big[i], half + at, sizeof half - at);

            if (n <= 0 && list_empty(&w->work.starved) == 0)
                break;
            at += n > 0 ? (size_t)n : 0;
            loop_turn(&w->loop, 0);
        }
    }
    assert_true(w->work.memory.used <= w->work.memory.limit);
    assert_false(list_empty(&w->work.starved));
    say(small, "still here\n");
    assert_string_equal(hear(w, small), "still here\n");
    while (!list_empty(&w->work.starved))
        loop_turn(&w->loop, -1);
    assert_true(stats_get(&w->served->stats->ended_memory) > 0);
    assert_true(w->work.memory.used < w->work.memory.limit);
    for (int i = 0; i < N; i++)
        close(big[i]);
    close(small);
    settle(w);
}

static void test_timeouts_end_what_they_bound(void **state)
{
    struct world *w = *state;

    w->conf.idle_timeout = 20;
    w->conf.request_timeout = 25;
    w->conf.handler_timeout = 30;
    int idle = open_client(w, &late), slow = open_client(w, NULL), working = open_client(w, NULL);
    say(slow, "unfinis");
    say(working, "work\n");
    settle(w);
    while (stats_get(&w->page->connections) > 1 || n_held > 0)
        loop_turn(&w->loop, -1);
    assert_int_equal(stats_get(&w->served->stats->ended_idle), 1);
    assert_int_equal(stats_get(&w->served->stats->ended_request), 1);
    assert_int_equal(stats_get(&w->served->stats->failed_timeout), 1);
    assert_int_equal(n_cancelled, 1);
    close(idle);
    close(slow);
    close(working);
    settle(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_half_close_gets_every_byte_back),
        TEST(test_any_chunking_gives_the_same_replies),
        TEST(test_late_replies_keep_their_order),
        TEST(test_client_that_leaves_cancels_its_request),
        TEST(test_half_closed_client_waits_for_a_late_reply),
        TEST(test_failure_with_error_reply_keeps_the_connection),
        TEST(test_failure_without_error_reply_ends_the_connection),
        TEST(test_reply_with_newline_is_the_handlers_failure),
        TEST(test_replies_to_two_connections_never_mix),
        TEST(test_handler_may_finish_a_connection_that_is_gone_meanwhile),
        TEST(test_slow_client_gets_all_of_a_large_reply),
        TEST(test_idle_connection_owns_no_buffer),
        TEST(test_buffer_of_a_long_message_is_no_longer_than_it),
        TEST(test_oversized_message_comes_after_the_replies_owed),
        TEST(test_request_limit_ends_politely),
        TEST(test_D17_one_that_floods_is_read_once_where_each_other_is),
        TEST(test_daytime_speaks_first_and_ends),
        TEST(test_taken_connection_counts_until_it_is_over),
        TEST(test_full_memory_stops_large_messages_and_spares_small_ones),
        TEST(test_timeouts_end_what_they_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
