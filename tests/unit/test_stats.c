/* Shared counters: who may write what, what survives a page, sources, senders and rates. */
#include "stats.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 2
#define SLOT  3

static struct stats *stats;
static struct stats_page *own[PAGES];
static int pages[PAGES];

/* Two pages in use, and slots up to SLOT. */
static int set_up(void **state)
{
    char name[8] = "s0";

    (void)state;
    if (stats_create(&stats) < 0)
        return -1;
    for (int i = 0; i <= SLOT; i++, name[1]++)
        assert_int_equal(stats_take_slot(stats, name), i);
    for (int i = 0; i < PAGES; i++) {
        pages[i] = stats_take_page(stats);
        own[i] = stats_own(stats, pages[i], false);
        assert_non_null(own[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < PAGES; i++)
        stats_disown(own[i]);
    stats_free(stats);
    return 0;
}

#define SUM(member)        stats_sum(stats, SLOT, offsetof(struct stats_service, member))
#define SUM_LIVING(member) stats_sum_living(stats, SLOT, offsetof(struct stats_service, member))

/* The descriptor through which pages are mapped for writing, or -1. */
static int find_descriptor(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = -1;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char target[256] = "";
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);

        if (n > 0 && strstr(target, "sockd-stats"))
            found = atoi(entry->d_name);
    }
    closedir(dir);
    return found;
}

/* Runs FN in a child; true when it says so. */
static bool holds_in_child(bool (*fn)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn() ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static bool view_cannot_be_written(void)
{
    for (int i = 0; i < PAGES; i++) {
        const struct stats_page *page = stats_page(stats, pages[i]);

        if (mprotect((void *)(uintptr_t)page, sizeof *page, PROT_READ | PROT_WRITE) == 0 || errno != EACCES)
            return false;
    }
    return true;
}

static bool child_cannot_reach_others(void)
{
    struct stats_page *mine = stats_own(stats, pages[1], true);

    return mine && view_cannot_be_written() && find_descriptor() < 0;
}

static void test_c15_a_neighbours_page_cannot_be_made_writable(void **state)
{
    (void)state;
    assert_true(view_cannot_be_written());
    assert_true(holds_in_child(child_cannot_reach_others));
}

static void test_c15_memory_cannot_be_taken_away_under_the_readers(void **state)
{
    struct stat st;
    int fd = find_descriptor();

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, st.st_size * 2), -1);
}

static bool child_scribbles_over_all_it_can_write(void)
{
    struct stats_page *mine = stats_own(stats, pages[1], true);

    if (!mine)
        return false;
    memset((void *)mine, 0xff, sizeof *mine);
    return true;
}

static void test_c15_a_worker_gone_mad_changes_its_own_page_alone(void **state)
{
    (void)state;
    stats_add(&own[0]->service[SLOT].requests, 5);
    int third = stats_take_page(stats);
    assert_true(holds_in_child(child_scribbles_over_all_it_can_write));
    assert_int_equal(stats_get(&own[0]->service[SLOT].requests), 5);
    assert_int_equal(stats_get(&stats_page(stats, third)->service[0].accepted), 0);
    assert_int_equal(stats_get(&stats_page(stats, pages[1])->memory), UINT64_MAX);
    assert_int_equal(stats_pages_end(stats), third + 1);
    assert_int_equal(stats_take_slot(stats, "s3"), SLOT);
}

static bool child_counts(void)
{
    struct stats_page *mine = stats_own(stats, pages[1], true);

    if (!mine || stats_get(&stats_page(stats, pages[0])->service[SLOT].requests) != 5)
        return false;
    stats_add(&mine->service[SLOT].requests, 2);
    return SUM(requests) == 7;
}

static void test_all_processes_see_what_each_counts(void **state)
{
    (void)state;
    stats_add(&own[0]->service[SLOT].requests, 5);
    assert_true(holds_in_child(child_counts));
    assert_int_equal(SUM(requests), 7);
    assert_int_equal(SUM_LIVING(requests), 7);
}

static void test_totals_survive_a_page_and_gauges_do_not(void **state)
{
    (void)state;
    stats_add(&own[0]->service[SLOT].requests, 5);
    stats_add(&own[0]->service[SLOT].connections, 2);
    stats_add(&own[0]->service[SLOT].in_hand, 1);
    stats_add(&own[1]->service[SLOT].requests, 3);
    stats_add(&own[1]->service[SLOT].connections, 1);
    assert_int_equal(SUM(connections), 3);
    stats_fold_page(stats, pages[0]);
    assert_null(stats_page(stats, pages[0]));
    assert_int_equal(SUM(requests), 8);
    assert_int_equal(SUM_LIVING(requests), 3);
    assert_int_equal(SUM(connections), 1);
    assert_int_equal(SUM(in_hand), 0);
}

static void test_a_page_taken_again_begins_empty(void **state)
{
    (void)state;
    stats_add(&own[0]->service[SLOT].requests, 5);
    stats_add(&own[0]->memory, 5);
    stats_source_add(stats, own[0], SLOT, 99);
    stats_fold_page(stats, pages[0]);
    assert_int_equal(stats_take_page(stats), pages[0]);
    assert_int_equal(SUM(requests), 5);
    assert_int_equal(SUM_LIVING(requests), 0);
    assert_int_equal(stats_get(&stats_page(stats, pages[0])->memory), 0);
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 99), 1);
    stats_add(&own[0]->service[SLOT].requests, 1);
    stats_fold_page(stats, pages[0]);
    assert_int_equal(SUM(requests), 6);
}

static void test_pages_end_and_come_back(void **state)
{
    (void)state;
    for (int i = PAGES; i < STATS_PAGES; i++)
        assert_int_equal(stats_take_page(stats), i);
    assert_int_equal(stats_take_page(stats), -ENOSPC);
    assert_int_equal(stats_pages_end(stats), STATS_PAGES);
    stats_fold_page(stats, 7);
    assert_int_equal(stats_take_page(stats), 7);
}

static void test_a_service_keeps_its_slot_as_long_as_somebody_has_it(void **state)
{
    (void)state;
    stats_add(&own[0]->service[SLOT].requests, 5);
    stats_fold_page(stats, pages[0]);
    assert_int_equal(stats_take_slot(stats, "s3"), SLOT);
    stats_give_slot(stats, SLOT);
    assert_int_equal(stats_take_slot(stats, "other"), SLOT + 1);
    assert_int_equal(SUM(requests), 5);
    stats_give_slot(stats, SLOT);
    assert_int_equal(stats_take_slot(stats, "new"), SLOT);
    assert_int_equal(SUM(requests), 0);
}

static void test_slots_end_and_come_back(void **state)
{
    char name[16];

    (void)state;
    for (int i = SLOT + 1; i < CONF_SERVICES_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(stats_take_slot(stats, name), i);
    }
    assert_int_equal(stats_take_slot(stats, "more"), -ENOSPC);
    assert_int_equal(stats_take_slot(stats, "n9"), 9);
    stats_give_slot(stats, 9);
    stats_give_slot(stats, 9);
    assert_int_equal(stats_take_slot(stats, "more"), 9);
}

static void test_connections_of_a_source_count_over_all_pages(void **state)
{
    (void)state;
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 42), 1);
    assert_int_equal(stats_source_add(stats, own[1], SLOT, 42), 2);
    assert_int_equal(stats_source_add(stats, own[1], SLOT, 42), 3);
    assert_int_equal(stats_source_add(stats, own[0], SLOT - 1, 42), 1);
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 43), 1);
    stats_source_sub(own[1], SLOT, 42);
    stats_source_sub(own[1], SLOT, 42);
    stats_source_sub(own[1], SLOT, 42); /* not one of another page's */
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 42), 2);
    stats_fold_page(stats, pages[0]);
    assert_int_equal(stats_source_add(stats, own[1], SLOT, 42), 1);
}

static bool is_zero(const struct stats_sources *table)
{
    for (int i = 0; i < STATS_BUCKETS; i++)
        for (int n = 0; n < STATS_BUCKET_SIZE; n++)
            if (stats_get(&table->place[i][n]) & UINT16_MAX)
                return false;
    return true;
}

static void test_a_full_table_errs_in_favour_of_clients_and_empties_to_zero(void **state)
{
    uint64_t source = 1, last, uncounted = 0;

    (void)state;
    for (unsigned n; uncounted < 1000; source++) {
        n = stats_source_add(stats, own[0], SLOT, source);
        assert_in_range(n, 0, 1);
        uncounted += n == 0;
    }
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 1), 2);
    stats_source_sub(own[0], SLOT, 1);
    for (last = source, source = 1; source < last; source++)
        stats_source_sub(own[0], SLOT, source);
    assert_true(is_zero(&own[0]->connected));
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 1), 1);
}

static void test_a_count_that_is_full_stays_full(void **state)
{
    (void)state;
    for (int i = 0; i < UINT16_MAX; i++)
        stats_source_add(stats, own[0], SLOT, 42);
    assert_int_equal(stats_source_add(stats, own[0], SLOT, 42), UINT16_MAX);
    assert_int_equal(stats_source_add(stats, own[1], SLOT, 42), UINT16_MAX + 1);
}

static void test_window_of_senders_moves_on(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 100; i++)
        assert_int_equal(stats_sender_add(stats, own[i % 2], SLOT, 42, 9000 + i), i);
    assert_int_equal(stats_sender_add(stats, own[0], SLOT, 43, 9999), 1);
    assert_int_equal(stats_sender_add(stats, own[0], SLOT, 42, 9999), 101);
    assert_int_equal(stats_sender_add(stats, own[0], SLOT, 42, 10000), 1);
    assert_int_equal(stats_sender_add(stats, own[1], SLOT, 42, 10999), 2);
    assert_int_equal(stats_sender_add(stats, own[1], SLOT, 42, 20000), 1);
}

static void test_senders_of_a_second_leave_room_for_those_of_the_next(void **state)
{
    uint64_t source = 1;

    (void)state;
    while (stats_sender_add(stats, own[0], SLOT, source, 5000) > 0)
        source++;
    assert_int_equal(stats_sender_add(stats, own[0], SLOT, source, 6000), 1);
    assert_int_equal(stats_sender_add(stats, own[0], SLOT, source, 6999), 2);
}

static void test_rate_slides_over_two_seconds(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        stats_rate_add(own[0], SLOT, 5000);
    assert_int_equal(stats_rate(stats, SLOT, 5999), 100);
    assert_int_equal(stats_rate(stats, SLOT, 6000), 100);
    assert_int_equal(stats_rate(stats, SLOT, 6500), 50);
    assert_int_equal(stats_rate(stats, SLOT, 6990), 1);
    assert_int_equal(stats_rate(stats, SLOT, 7000), 0);
    assert_int_equal(stats_rate(stats, SLOT - 1, 5999), 0);
    stats_rate_add(own[0], SLOT, 6500);
    assert_int_equal(stats_rate(stats, SLOT, 6500), 51);
    stats_rate_add(own[0], SLOT, 9000); /* nothing in the second before */
    assert_int_equal(stats_rate(stats, SLOT, 9000), 1);
}

static void test_rate_is_the_sum_of_all_pages(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        stats_rate_add(own[0], SLOT, 5100);
    for (int i = 0; i < 3; i++)
        stats_rate_add(own[1], SLOT, 6100);
    assert_int_equal(stats_rate(stats, SLOT, 6250), 3 + 6);
    stats_fold_page(stats, pages[0]);
    assert_int_equal(stats_rate(stats, SLOT, 6250), 3);
}

static void test_durations_are_counted_by_their_bounds_and_survive_a_page(void **state)
{
    static const uint64_t us[] = { 0, 100, 101, 1000, 30000000, 30000001 };
    uint64_t found[STATS_BUCKETS_TIMED] = { 0 }, n = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++)
        stats_time(&own[0]->service[SLOT], us[i]);
    stats_fold_page(stats, pages[0]);
    for (size_t i = 0; i < STATS_BUCKETS_TIMED; i++)
        n += found[i] =
            stats_sum(stats, SLOT, offsetof(struct stats_service, duration) + i * sizeof(stats_number));
    assert_int_equal(n, 6);
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], 1);
    assert_int_equal(found[2], 1);
    assert_int_equal(found[STATS_BUCKETS_TIMED - 2], 1);
    assert_int_equal(found[STATS_BUCKETS_TIMED - 1], 1);
    assert_int_equal(SUM(duration_us), 60001202);
}

static void test_every_row_has_a_name_a_help_text_and_a_number_of_its_own(void **state)
{
    size_t next = 0;

    (void)state;
    for (const struct stats_row *row = stats_rows; row->name; row++) {
        assert_true(row->name[0] && row->help[0]);
        assert_int_equal(row->offset, next);
        next += sizeof(stats_number);
    }
    assert_int_equal(next, offsetof(struct stats_service, rate_second));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_c15_a_neighbours_page_cannot_be_made_writable),
        TEST(test_c15_memory_cannot_be_taken_away_under_the_readers),
        TEST(test_c15_a_worker_gone_mad_changes_its_own_page_alone),
        TEST(test_all_processes_see_what_each_counts),
        TEST(test_totals_survive_a_page_and_gauges_do_not),
        TEST(test_a_page_taken_again_begins_empty),
        TEST(test_pages_end_and_come_back),
        TEST(test_a_service_keeps_its_slot_as_long_as_somebody_has_it),
        TEST(test_slots_end_and_come_back),
        TEST(test_connections_of_a_source_count_over_all_pages),
        TEST(test_a_full_table_errs_in_favour_of_clients_and_empties_to_zero),
        TEST(test_a_count_that_is_full_stays_full),
        TEST(test_window_of_senders_moves_on),
        TEST(test_senders_of_a_second_leave_room_for_those_of_the_next),
        TEST(test_rate_slides_over_two_seconds),
        TEST(test_rate_is_the_sum_of_all_pages),
        TEST(test_durations_are_counted_by_their_bounds_and_survive_a_page),
        TEST(test_every_row_has_a_name_a_help_text_and_a_number_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
