/* spawner_program.c: connections that wait for their programs are counted, and uncounted as they were. */
#include "test.h"

#include "base/fd.h"
#include "spawned.h"

#include <sys/socket.h>
#include <unistd.h>

#define SLOT 0

static struct stats *stats;
static struct spawner_setup setup = { .n_workers = 1 };
static struct spawner spawner;
static struct attached from;
static struct spawned_service service;
/* None ever runs. */
static const struct service conf = { .handler = HANDLER_PROGRAM, .max_connections_per_source = 5 };

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(stats_create(&stats), 0);
    assert_int_equal(stats_take_slot(stats, "test"), SLOT);
    setup.stats = stats;
    spawner = (struct spawner){ .setup = &setup };
    assert_int_equal(loop_init(&spawner.loop), 0);
    list_init(&spawner.attached);
    spawned_init_room(&spawner);
    spawner.page = stats_own(stats, stats_take_page(stats), false);
    from = (struct attached){ .spawner = &spawner };
    spawner_line_init(&from.line, &spawner.loop);
    service = (struct spawned_service){
        .spawner = &spawner, .conf = &conf, .stats = &spawner.page->service[SLOT], .stats_slot = SLOT
    };
    list_init(&service.waiting);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_done(&spawner.loop);
    stats_disown(spawner.page);
    stats_free(stats);
    return 0;
}

static uint64_t source_of(unsigned uid)
{
    return addr_source(&(struct addr){ .family = AF_UNIX, .uid = uid });
}

static unsigned count(unsigned uid)
{
    return stats_source_add(stats, spawner.page, SLOT, source_of(uid));
}

static void uncount(unsigned uid)
{
    stats_source_sub(spawner.page, SLOT, source_of(uid));
}

static struct waiting *wait_as(unsigned uid)
{
    struct spawner_packet packet = { .word = SPAWNER_PROGRAM, .peer = { .family = AF_UNIX, .uid = uid } };

    spawned_take_program(&from, &service, &packet, dup(0));
    return container_of(service.waiting.prev, struct waiting, link);
}

static void test_a_connection_that_waits_counts_for_its_source(void **state)
{
    (void)state;
    struct waiting *w = wait_as(7);
    assert_int_equal(count(7), 2);
    spawned_drop_one(&service, w);
    assert_int_equal(count(7), 2);
    assert_int_equal(stats_get(&service.stats->programs), 0);
}

static void test_one_that_could_not_be_counted_takes_nothing_from_others_of_its_source(void **state)
{
    unsigned uid = 0;

    (void)state;
    while (count(uid) > 0)
        uid++;
    struct waiting *w = wait_as(uid); /* there is no place for its source */
    while (uid > 0)
        uncount(--uid);
    uid = w->peer.uid;
    assert_int_equal(count(uid), 1);
    spawned_drop_one(&service, w);
    assert_int_equal(count(uid), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_connection_that_waits_counts_for_its_source, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_one_that_could_not_be_counted_takes_nothing_from_others_of_its_source, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
