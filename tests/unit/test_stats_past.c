/* stats_past.c: counters of a program that keeps them in another way come along by name; texts that are no
 * layout, or of another memory, are refused. */
#include "test.h"

#include "stats_past.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * A program with two pages and two services, which has no silences, counts `sheep`, and knows buckets of 50
 * us, 300 us and all above. In numbers of 8 bytes: in_use at 0, totals at 4 and 12, pages at 32 and 64, their
 * services at +8 and +16.
 */
#define SHAPE(pages, first, total, service)                                                                 \
    "pages " pages " first " first " stride 256 in_use 0 total " total " service " service " slots 2 size " \
    "64 "
#define COUNTS                                                                      \
    "requests 0 accepted 8 sheep 16 connections 24 duration.50 32 duration.300 40 " \
    "duration.9223372036854775807 48 duration_us 56 page.connections 8 page.listening 0"
static const char layout[] = SHAPE("2", "256", "32", "64") COUNTS;

static uint64_t *memory;
static struct stats *stats;
static int fd;

static int set_up(void **state)
{
    (void)state;
    fd = memfd_create("old", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 96 * 8) < 0)
        return -1;
    memory = mmap(NULL, 96 * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    stats_free(stats);
    stats = NULL;
    munmap(memory, 96 * 8);
    return 0;
}

static void adopt(void)
{
    char names[2][2] = { "a", "b" };

    assert_int_equal(stats_adopt(fd, layout, &stats), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(stats_adopt_slot(stats, i, names[i]), 0);
}

#define SUM(slot, member) stats_sum(stats, slot, offsetof(struct stats_service, member))

static void test_totals_and_living_pages_come_along_by_name(void **state)
{
    (void)state;
    memory[1] = 1;       /* page 1 is in use */
    memory[4 + 0] = 100; /* requests of the dead, of service 0 */
    memory[12 + 1] = 7;  /* accepted, of service 1 */
    memory[12 + 3] = 99; /* connections of the dead: a gauge of nobody */
    memory[64 + 0] = 1;
    memory[64 + 1] = 3;
    memory[64 + 8 + 0] = 20;
    memory[64 + 16 + 3] = 3;
    adopt();
    assert_int_equal(SUM(0, requests), 120);
    assert_int_equal(SUM(1, accepted), 7);
    assert_int_equal(SUM(1, connections), 3);
    assert_int_equal(SUM(0, silences), 0);
    assert_null(stats_page(stats, 0));
    assert_int_equal(stats_get(&stats_page(stats, 1)->connections), 3);
    assert_int_equal(stats_get(&stats_page(stats, 1)->listening), 1);
}

static void test_what_old_processes_count_later_is_counted_until_they_are_gone(void **state)
{
    (void)state;
    memory[0] = memory[1] = 1;
    memory[32 + 8] = memory[64 + 8] = 5;
    memory[32 + 8 + 3] = 1;
    adopt();
    memory[32 + 8] = 6;
    assert_true(stats_refresh(stats));
    assert_int_equal(SUM(0, requests), 11);
    memory[32 + 8] = 8; /* its last words, before anybody looked */
    stats_fold_page(stats, 0);
    assert_int_equal(SUM(0, requests), 13);
    assert_int_equal(SUM(0, connections), 0);
    assert_int_equal(memory[0], 0); /* its old neighbours see that it is gone */
    assert_int_equal(stats_take_page(stats), 0);
    memory[32 + 8] = 1000;
    assert_true(stats_refresh(stats));
    assert_int_equal(SUM(0, requests), 13);
    stats_fold_page(stats, 1);
    assert_false(stats_refresh(stats));
    assert_int_equal(stats_pasts(stats), 0);
    assert_int_equal(SUM(0, requests), 13);
}

static uint64_t bucket(size_t i)
{
    return stats_sum(stats, 0, offsetof(struct stats_service, duration) + i * sizeof(stats_number));
}

static void test_durations_go_to_the_bucket_that_has_room_for_them(void **state)
{
    (void)state;
    memory[4 + 4] = 10;
    memory[4 + 5] = 20;
    memory[4 + 6] = 30;
    memory[4 + 7] = 123456;
    adopt();
    assert_int_equal(bucket(0), 10); /* 50 us: up to 100 */
    assert_int_equal(bucket(2), 20); /* 300 us: up to 1000 */
    assert_int_equal(bucket(STATS_BUCKETS_TIMED - 1), 30);
    assert_int_equal(SUM(0, duration_us), 123456);
}

static void test_another_program_after_this_one_sees_the_same(void **state)
{
    struct stats *next;
    const char *text;

    (void)state;
    memory[0] = 1;
    memory[32 + 8] = 5;
    adopt();
    assert_int_equal(stats_pasts(stats), 1);
    int past = dup(stats_past_of(stats, 0, &text)), own = dup(stats_fd(stats));
    char *mine = stats_layout();
    assert_int_equal(stats_adopt(own, mine, &next), 0);
    assert_int_equal(stats_adopt_past(next, past, text), 0);
    free(mine);
    stats_free(stats);
    stats = next;
    assert_int_equal(stats_adopt_slot(stats, 0, "a"), 0);
    memory[32 + 8] = 6;
    assert_true(stats_refresh(stats));
    assert_int_equal(SUM(0, requests), 6);
    stats_fold_page(stats, 0);
    assert_int_equal(SUM(0, requests), 6);
}

static void test_a_layout_of_another_memory_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "1/2/3/0123456789abcdef",
        "pages",
        COUNTS,
        SHAPE("3", "256", "32", "64") COUNTS,  /* more pages than there is memory */
        SHAPE("2", "264", "32", "64") COUNTS,  /* the last page ends behind it */
        SHAPE("2", "256", "136", "64") COUNTS, /* totals reach into the pages */
        SHAPE("2", "256", "32", "136") COUNTS, /* services reach into the next page */
        SHAPE("2", "256", "33", "64") COUNTS,  /* not where numbers are */
        SHAPE("2", "256", "-32", "64") COUNTS,
        SHAPE("2", "256", "32", "64") SHAPE("2", "256", "32", "64") COUNTS,
        SHAPE("1099511627777", "256", "32", "64") COUNTS,
        SHAPE("2", "256", "32", "64") "requests 64", /* behind the service */
        SHAPE("2", "256", "32", "64") "requests x",
        SHAPE("2", "256", "32", "64") "requests 0 ",
        SHAPE("2", "256", "32", "64") "page.jobs 256",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (stats_adopt(fd, wrong[i], &stats) != -ENOTSUP)
            fail_msg("taken: %s", wrong[i]);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_totals_and_living_pages_come_along_by_name),
        TEST(test_what_old_processes_count_later_is_counted_until_they_are_gone),
        TEST(test_durations_go_to_the_bucket_that_has_room_for_them),
        TEST(test_another_program_after_this_one_sees_the_same),
        TEST(test_a_layout_of_another_memory_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
