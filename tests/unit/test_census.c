/*
 * Asking all processes for their connections: the test plays the processes, at the other ends of their
 * channels.
 */
#include "census.h"

#include "base/fd.h"

#include "conf_try.h"

#include <fcntl.h>
#include <unistd.h>

#define GENERATIONS 2
#define SEATS       2

static struct loop loop;
static struct generations generations;
static struct generation members[GENERATIONS];
static struct seat seats[GENERATIONS][SEATS];
static int ends[GENERATIONS][SEATS]; /* of the processes */
static struct censuses all;
static struct census *census;
static int n_done;

static void on_done(struct census *c)
{
    assert_ptr_equal(c, census);
    n_done++;
}

/* Worker 1 and, behind it, the spawner. */
static void begin_member(int i)
{
    struct generation *g = &members[i];

    *g = (struct generation){
        .number = (unsigned)i + 5, .seats = seats[i], .n_workers = SEATS - 1, .has_spawner = true
    };
    g->conf = try_text("services: { a: { port = 1; handler = \"echo\"; };"
                       " b: { port = 2; handler = \"echo\"; }; };",
                       NULL);
    list_append(&generations.all, &g->link);
    for (unsigned k = 0; k < SEATS; k++) {
        struct process *process = &seats[i][k].process;
        int pair[2];

        assert_int_equal(fd_channel(pair), 0);
        process_init(process, NULL, &loop, NULL, k < SEATS - 1 ? k + 1 : PROCESS_SPAWNER);
        process->pid = getpid();
        process->channel_fd = pair[0];
        ends[i][k] = pair[1];
    }
}

static int set_up(void **state)
{
    (void)state;
    alarm(60); /* what waits would wait for ever */
    n_done = 0;
    census = NULL;
    assert_int_equal(loop_init(&loop), 0);
    generations = (struct generations){ .loop = &loop };
    list_init(&generations.all);
    censuses_init(&all);
    for (int i = 0; i < GENERATIONS; i++)
        begin_member(i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    census_free(census);
    for (int i = 0; i < GENERATIONS; i++) {
        for (int k = 0; k < SEATS; k++) {
            fd_close(&seats[i][k].process.channel_fd);
            fd_close(&ends[i][k]);
        }
        assert_int_equal(members[i].conf->refs, 1);
        conf_unref(members[i].conf);
    }
    assert_int_equal(loop.heap_len, 0);
    loop_done(&loop);
    return 0;
}

static void start(const struct census_asked *only)
{
    assert_int_equal(census_start(&all, &generations, only, on_done, &n_done, &census), 0);
    assert_int_equal(n_done, 0);
}

/* The number of the question that the process was asked; 0: it was not. */
static uint32_t asked(int i, int k)
{
    struct channel_message message;

    if (channel_receive(ends[i][k], &message, NULL) <= 0)
        return 0;
    assert_int_equal(message.word, CHANNEL_LIST);
    return message.value;
}

/* The master hears the process answer with these rows. */
static void answer(int i, int k, uint32_t question, const struct listing_row *rows, size_t n)
{
    struct process *process = &seats[i][k].process;
    struct channel_message message;
    struct listing listing;
    int fd;

    listing_begin(&listing);
    for (size_t at = 0; at < n; at++)
        listing_add(&listing, &rows[at]);
    listing_send(&listing, ends[i][k], question);
    assert_int_equal(channel_receive(process->channel_fd, &message, &fd), 1);
    censuses_hear(&all, &members[i], process->number, message.value, fd);
}

static void answer_one(int i, int k, uint32_t number, uint64_t since_ms)
{
    struct listing_row row = { .number = number, .since_ms = since_ms };

    answer(i, k, asked(i, k), &row, 1);
}

static void turn(void)
{
    assert_int_equal(loop_turn(&loop, 0), 0);
}

static void test_all_living_processes_are_asked(void **state)
{
    (void)state;
    start(NULL);
    for (int i = 0; i < GENERATIONS; i++)
        for (int k = 0; k < SEATS; k++)
            assert_int_equal(asked(i, k), census->number);
    assert_int_equal(census->n_waiting, GENERATIONS * SEATS);
}

static void test_a_place_without_a_process_is_not_asked(void **state)
{
    (void)state;
    seats[0][0].process.pid = 0;
    start(NULL);
    assert_int_equal(asked(0, 0), 0);
    assert_int_equal(census->n_waiting, GENERATIONS * SEATS - 1);
}

static void test_one_process_alone_may_be_asked(void **state)
{
    const struct census_asked only = { .generation = 6, .process = PROCESS_SPAWNER };

    (void)state;
    start(&only);
    assert_int_equal(census->n_waiting, 1);
    assert_int_equal(asked(0, 0) + asked(0, 1) + asked(1, 0), 0);
    answer_one(1, 1, 3, 10);
    turn();
    assert_int_equal(n_done, 1);
    assert_int_equal(census->rows[0].from->process, PROCESS_SPAWNER);
    assert_int_equal(census->rows[0].from->generation, 6);
}

static void test_with_nobody_to_ask_it_is_done_soon(void **state)
{
    const struct census_asked only = { .generation = 99, .process = 1 };

    (void)state;
    start(&only);
    turn();
    assert_int_equal(n_done, 1);
    assert_int_equal(census->n_rows, 0);
}

static void test_the_longest_wait_comes_first(void **state)
{
    const struct listing_row mixed[] = { { .number = 1, .since_ms = 30 },
                                         { .number = 9, .since_ms = 10 },
                                         { .number = 2, .since_ms = 10 } };

    (void)state;
    start(NULL);
    answer(0, 0, asked(0, 0), mixed, 3);
    answer_one(0, 1, 4, 20);
    answer_one(1, 0, 5, 5);
    assert_int_equal(n_done, 0);
    answer_one(1, 1, 6, 40);
    turn();
    assert_int_equal(n_done, 1);
    static const uint32_t order[] = { 5, 2, 9, 4, 1, 6 };
    assert_int_equal(census->n_rows, 6);
    assert_int_equal(census->total, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(census->rows[i].is.number, order[i]);
}

static void test_a_silent_process_is_not_waited_for_longer_than_a_second(void **state)
{
    (void)state;
    start(NULL);
    assert_true(census->deadline.due_ms <= loop_now(&loop) + 1000);
    answer_one(0, 0, 1, 1);
    while (n_done == 0)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_int_equal(census->n_rows, 1);
}

/* A worker may send what it likes. */
static void test_rows_whose_numbers_mean_nothing_are_left_out(void **state)
{
    const struct listing_row lies[] = { { .number = 1, .service = 2 },
                                        { .number = 2, .service = UINT32_MAX },
                                        { .number = 3, .wait = LISTING_WAITS },
                                        { .number = 4, .service = 1, .wait = LISTING_WAITS - 1 } };

    (void)state;
    start(NULL);
    answer(0, 0, asked(0, 0), lies, 4);
    assert_int_equal(census->n_rows, 1);
    assert_int_equal(census->rows[0].is.number, 4);
    assert_string_equal(census->rows[0].service->name, "b");
}

static void test_an_answer_counts_once_and_to_its_own_question_only(void **state)
{
    const struct listing_row row = { .number = 1 };

    (void)state;
    start(NULL);
    uint32_t question = asked(0, 0);
    answer(0, 0, question + 1, &row, 1);
    answer(0, 0, 0, &row, 1);
    assert_int_equal(census->n_rows, 0);
    answer(0, 0, question, &row, 1);
    answer(0, 0, question, &row, 1);
    assert_int_equal(census->n_rows, 1);
    assert_int_equal(census->n_waiting, GENERATIONS * SEATS - 1);
}

static void test_an_answer_without_a_listing_is_none(void **state)
{
    (void)state;
    start(NULL);
    censuses_hear(&all, &members[0], 1, asked(0, 0), -1);
    int fd = dup(STDIN_FILENO);
    censuses_hear(&all, &members[0], 1, census->number, fd);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken, and closed */
    assert_int_equal(census->n_waiting, GENERATIONS * SEATS);
    answer_one(0, 1, 1, 1);
    assert_int_equal(census->n_waiting, GENERATIONS * SEATS - 1);
}

static void test_who_was_not_asked_is_not_heard(void **state)
{
    const struct census_asked only = { .generation = 5, .process = 1 };
    const struct listing_row row = { .number = 1 };

    (void)state;
    start(&only);
    answer(1, 0, census->number, &row, 1);
    answer(0, 1, census->number, &row, 1);
    assert_int_equal(census->n_rows, 0);
    assert_int_equal(census->n_waiting, 1);
}

static void test_an_answer_after_the_end_is_closed(void **state)
{
    (void)state;
    start(NULL);
    uint32_t question = asked(0, 0);
    census_free(census);
    census = NULL;
    struct listing_row row = { .number = 1 };
    answer(0, 0, question, &row, 1);
    turn();
    assert_int_equal(n_done, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_living_processes_are_asked),
        TEST(test_a_place_without_a_process_is_not_asked),
        TEST(test_one_process_alone_may_be_asked),
        TEST(test_with_nobody_to_ask_it_is_done_soon),
        TEST(test_the_longest_wait_comes_first),
        TEST(test_a_silent_process_is_not_waited_for_longer_than_a_second),
        TEST(test_rows_whose_numbers_mean_nothing_are_left_out),
        TEST(test_an_answer_counts_once_and_to_its_own_question_only),
        TEST(test_an_answer_without_a_listing_is_none),
        TEST(test_who_was_not_asked_is_not_heard),
        TEST(test_an_answer_after_the_end_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
