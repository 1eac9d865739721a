/* A service as a worker serves it: who is let in, and how many lines of a flood are told. */
#include "served.h"

#include "log_stderr.h"

#include <stdio.h>

static struct loop loop;
static struct stats *stats;
static struct stats_page *page;
static struct work work;
static struct service conf;
static struct served *served;
static struct nets allow, deny;
static char name[] = "flooded";
static int log_lines;

#define KIND "0123456789abcdef0123456789abcdef"

static void on_no_timeout(struct deadline *deadline, void *owner)
{
    (void)deadline;
    (void)owner;
}

static int set_up(void **state)
{
    const struct served_timeouts timeouts = { .datagram = on_no_timeout };

    (void)state;
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(stats_create(&stats), 0);
    page = stats_own(stats, stats_take_page(stats), false);
    assert_int_equal(work_init(&work, &loop, stats, page, 1 << 20), 0);
    conf = (struct service){ .name = name, .handler = HANDLER_ECHO, .log = SERVICE_LOG_CONNECTIONS };
    assert_int_equal(served_new(&work, &conf, 0, &timeouts, &served), 0);
    log_lines = pipe_as_stderr();
    log_open("sockd", LOG_DEBUG);
    return 0;
}

static void free_nets(struct nets *nets)
{
    free(nets->item);
    *nets = (struct nets){ 0 };
}

static int tear_down(void **state)
{
    if (served)
        served_free(served);
    work_done(&work);
    assert_int_equal(loop.heap_len, 0);
    loop_done(&loop);
    stats_disown(page);
    stats_free(stats);
    free_nets(&allow);
    free_nets(&deny);
    fd_close(&log_lines);
    return reset(state);
}

static void add(struct nets *nets, const char *text)
{
    nets->item = realloc(nets->item, (nets->len + 1) * sizeof *nets->item);
    assert_int_equal(net_parse(text, &nets->item[nets->len++]), 0);
    conf.allow = allow;
    conf.deny = deny;
}

static bool lets_in(const char *text)
{
    struct net net;

    assert_int_equal(net_parse(text, &net), 0);
    return served_allows(served, &net.base);
}

static void test_without_lists_everybody_is_let_in(void **state)
{
    (void)state;
    assert_true(lets_in("192.0.2.1"));
    assert_true(lets_in("2001:db8::1"));
}

static void test_deny_wins_over_allow(void **state)
{
    (void)state;
    add(&allow, "192.0.2.0/24");
    add(&deny, "192.0.2.128/25");
    assert_true(lets_in("192.0.2.1"));
    assert_false(lets_in("192.0.2.129"));
}

static void test_once_allow_is_set_all_others_are_refused(void **state)
{
    (void)state;
    add(&allow, "192.0.2.1");
    add(&allow, "2001:db8::/32");
    assert_true(lets_in("192.0.2.1"));
    assert_true(lets_in("2001:db8:1::1"));
    assert_false(lets_in("192.0.2.2"));
    assert_false(lets_in("::1"));
}

static void test_deny_alone_refuses_only_what_it_names(void **state)
{
    (void)state;
    add(&deny, "192.0.2.0/24");
    assert_false(lets_in("192.0.2.7"));
    assert_true(lets_in("198.51.100.7"));
    assert_true(lets_in("::1"));
}

static void test_lists_of_networks_do_not_concern_a_unix_peer(void **state)
{
    static const struct addr somebody = { .family = AF_UNIX, .uid = 7 };

    (void)state;
    add(&allow, "192.0.2.1");
    add(&deny, "0.0.0.0/0");
    add(&deny, "::/0");
    assert_true(served_allows(served, &somebody));
}

static void set_clock(uint64_t ms)
{
    loop.now_ms = ms;
}

/* N events of a stranger. */
static void flood(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        served_log(served, SERVICE_LOG_ERRORS, KIND, &peer, "event %u", i);
}

static size_t lines_now(void)
{
    return count(read_now(log_lines), '\n');
}

static void test_log_tells_what_the_service_wants_told(void **state)
{
    (void)state;
    served_log(served, SERVICE_LOG_REQUESTS, KIND, &peer, "a request");
    assert_int_equal(lines_now(), 0);
    served_log(served, SERVICE_LOG_CONNECTIONS, KIND, &peer, "a connection");
    served_log(served, SERVICE_LOG_ERRORS, KIND, &peer, "an error");
    const char *text = read_now(log_lines);
    assert_int_equal(count(text, '\n'), 2);
    assert_non_null(strstr(text, "flooded"));
    assert_non_null(strstr(text, "127.0.0.1"));
    conf.log = SERVICE_LOG_NONE;
    served_log(served, SERVICE_LOG_ERRORS, KIND, &peer, "an error");
    assert_int_equal(lines_now(), 0);
}

static void test_h4_what_a_stranger_sent_stays_one_line(void **state)
{
    (void)state;
    served_log(served, SERVICE_LOG_ERRORS, KIND, &peer, "%s", "a\nMESSAGE=b\r\x1b[2J%n");
    assert_int_equal(lines_now(), 1);
}

static void test_h5_so_many_lines_are_told_in_a_second(void **state)
{
    (void)state;
    set_clock(5000);
    flood(2 * SERVED_LINES_PER_SECOND);
    assert_int_equal(lines_now(), SERVED_LINES_PER_SECOND);
    set_clock(5999);
    flood(1);
    assert_int_equal(lines_now(), 0);
}

static void test_h5_what_was_left_out_is_told_at_the_end(void **state)
{
    (void)state;
    set_clock(5000);
    flood(SERVED_LINES_PER_SECOND + 7);
    lines_now();
    served_free(served);
    served = NULL;
    assert_non_null(strstr(read_now(log_lines), " 7 more lines suppressed in "));
}

static void test_lines_that_the_log_level_hides_take_no_room(void **state)
{
    (void)state;
    log_set_level(LOG_NOTICE);
    set_clock(5000);
    for (int i = 0; i < 2 * SERVED_LINES_PER_SECOND; i++)
        served_log(served, SERVICE_LOG_CONNECTIONS, KIND, &peer, "hidden");
    flood(1);
    assert_int_equal(lines_now(), 1);
    set_clock(6000);
    flood(1);
    assert_int_equal(lines_now(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_lists_everybody_is_let_in),
        TEST(test_deny_wins_over_allow),
        TEST(test_once_allow_is_set_all_others_are_refused),
        TEST(test_deny_alone_refuses_only_what_it_names),
        TEST(test_lists_of_networks_do_not_concern_a_unix_peer),
        TEST(test_log_tells_what_the_service_wants_told),
        TEST(test_h4_what_a_stranger_sent_stays_one_line),
        TEST(test_h5_so_many_lines_are_told_in_a_second),
        TEST(test_h5_what_was_left_out_is_told_at_the_end),
        TEST(test_lines_that_the_log_level_hides_take_no_room),
    };

    return cmocka_run_group_tests(tests, prepare, clean_up);
}
