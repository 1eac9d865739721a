/* The event loop over real descriptors: batches, what is removed in them, and garbage. */
#include "base/loop.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THINGS 200

/* A descriptor that is readable from its birth, in the loop. */
struct thing {
    struct loop_source source;
    struct loop_garbage garbage;
    int fd;
    unsigned events;
    bool closed;
};

static struct loop loop;
static struct thing *things[THINGS];
static unsigned n_things, n_freed, seed;

static int set_up(void **state)
{
    (void)state;
    n_things = n_freed = 0;
    seed = 4711;
    return loop_init(&loop);
}

static void close_thing(struct thing *t)
{
    if (t->closed)
        return;
    t->closed = true;
    loop_remove(&loop, &t->source);
    close(t->fd);
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < n_things; i++) {
        if (!things[i])
            continue;
        close_thing(things[i]);
        free(things[i]);
    }
    loop_done(&loop);
    return 0;
}

static int open_readable(void)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    assert_true(fd >= 0);
    return fd;
}

static struct thing *add_thing(loop_event_fn *on_event)
{
    struct thing *t = calloc(1, sizeof *t);

    assert_true(n_things < THINGS);
    t->fd = open_readable();
    assert_int_equal(loop_add(&loop, &t->source, t->fd, EPOLLIN, on_event), 0);
    return things[n_things++] = t;
}

static void turn(void)
{
    assert_int_equal(loop_turn(&loop, 0), 0);
}

static struct thing *thing_of(struct loop_source *source)
{
    struct thing *t = container_of(source, struct thing, source);

    assert_false(t->closed);
    t->events++;
    return t;
}

static void on_counted(struct loop_source *source, uint32_t events)
{
    thing_of(source);
    assert_true(events & EPOLLIN);
}

static void free_thing(struct loop_garbage *garbage)
{
    struct thing *t = container_of(garbage, struct thing, garbage);

    for (unsigned i = 0; i < n_things; i++)
        if (things[i] == t)
            things[i] = NULL;
    n_freed++;
    free(t);
}

static void end_thing(struct thing *t)
{
    if (t->closed)
        return;
    close_thing(t);
    loop_free_later(&loop, &t->garbage, free_thing);
}

static void on_event_ends_all_others(struct loop_source *source, uint32_t events)
{
    struct thing *t = thing_of(source);

    (void)events;
    for (unsigned i = 0; i < n_things; i++)
        if (things[i] && things[i] != t)
            end_thing(things[i]);
    assert_true(n_freed == 0 || t->events > 1);
}

static void test_d9_source_closed_by_the_event_before_gets_none(void **state)
{
    (void)state;
    add_thing(on_event_ends_all_others);
    add_thing(on_event_ends_all_others);
    turn();
    assert_int_equal(n_freed, 1);
    struct thing *survivor = things[0] ? things[0] : things[1];
    assert_int_equal(survivor->events, 1);
    turn();
    assert_int_equal(survivor->events, 2);
}

static void on_event_ends_some(struct loop_source *source, uint32_t events)
{
    struct thing *t = thing_of(source);

    (void)events;
    for (int i = 0; i < 3; i++) {
        struct thing *victim = things[(unsigned)rand_r(&seed) % n_things];

        if (victim)
            end_thing(victim);
    }
    /* Itself too, sometimes; its memory stays until the batch is over. */
    assert_true(t->events == 1 || !t->closed);
}

static void test_d9_memory_stays_until_the_batch_is_over(void **state)
{
    unsigned ended = 0;

    (void)state;
    for (int i = 0; i < THINGS; i++)
        add_thing(on_event_ends_some);
    turn();
    for (unsigned i = 0; i < n_things; i++)
        ended += !things[i];
    assert_true(n_freed > THINGS / 4);
    assert_int_equal(n_freed, ended);
    for (unsigned i = 0; i < n_things; i++)
        assert_true(!things[i] || !things[i]->closed);
}

/* Moves the other source to a descriptor that has nothing to read. */
static void on_event_moves_other(struct loop_source *source, uint32_t events)
{
    struct thing *t = thing_of(source), *other = things[0] == t ? things[1] : things[0];
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    (void)events;
    loop_remove(&loop, &other->source);
    close(other->fd);
    assert_int_equal(fcntl(fd, F_DUPFD_CLOEXEC, other->fd), other->fd);
    close(fd);
    assert_int_equal(loop_add(&loop, &other->source, other->fd, EPOLLIN, on_counted), 0);
}

static void test_d9_source_added_again_gets_no_event_of_its_former_descriptor(void **state)
{
    uint64_t one = 1;

    (void)state;
    add_thing(on_event_moves_other);
    add_thing(on_event_moves_other);
    turn();
    assert_int_equal(things[0]->events + things[1]->events, 1);
    struct thing *moved = things[0]->events ? things[1] : things[0];
    loop_remove(&loop, &(moved == things[0] ? things[1] : things[0])->source);
    turn();
    assert_int_equal(moved->events, 0);
    assert_int_equal(write(moved->fd, &one, sizeof one), sizeof one);
    turn();
    assert_int_equal(moved->events, 1);
}

static void test_more_sources_than_one_turn_takes_are_all_heard(void **state)
{
    (void)state;
    for (int i = 0; i < THINGS; i++)
        add_thing(on_counted);
    turn();
    turn();
    for (int i = 0; i < THINGS; i++)
        assert_true(things[i]->events >= 1);
}

static void test_change_waits_for_the_new_events_alone(void **state)
{
    (void)state;
    struct thing *t = add_thing(on_counted);

    loop_change(&loop, &t->source, 0);
    turn();
    assert_int_equal(t->events, 0);
    loop_change(&loop, &t->source, EPOLLIN);
    turn();
    assert_int_equal(t->events, 1);
    loop_remove(&loop, &t->source);
    loop_change(&loop, &t->source, EPOLLIN | EPOLLOUT);
    loop_remove(&loop, &t->source);
    turn();
    assert_int_equal(t->events, 1);
}

static void test_descriptor_that_cannot_be_waited_for_is_refused(void **state)
{
    struct loop_source source = { .fd = -1 };
    struct thing *t = add_thing(on_counted);

    (void)state;
    assert_int_equal(loop_add(&loop, &source, -1, EPOLLIN, on_counted), -EBADF);
    assert_int_equal(loop_add(&loop, &source, t->fd, EPOLLIN, on_counted), -EEXIST);
    assert_int_equal(source.fd, -1);
    loop_remove(&loop, &source);
}

struct scrap {
    struct loop_garbage garbage;
    struct loop_garbage *more;
};

static void free_scrap(struct loop_garbage *garbage)
{
    struct scrap *scrap = container_of(garbage, struct scrap, garbage);

    if (scrap->more)
        loop_free_later(&loop, scrap->more, free_scrap);
    n_freed++;
    free(scrap);
}

static struct scrap *new_scrap(struct loop_garbage *more)
{
    struct scrap *scrap = malloc(sizeof *scrap);

    *scrap = (struct scrap){ .more = more };
    return scrap;
}

static void test_garbage_that_leaves_garbage_is_freed_with_it(void **state)
{
    (void)state;
    loop_free_later(&loop, &new_scrap(&new_scrap(NULL)->garbage)->garbage, free_scrap);
    turn();
    assert_int_equal(n_freed, 2);
    loop_free_later(&loop, &new_scrap(NULL)->garbage, free_scrap); /* loop_done() frees it */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_d9_source_closed_by_the_event_before_gets_none),
        TEST(test_d9_memory_stays_until_the_batch_is_over),
        TEST(test_d9_source_added_again_gets_no_event_of_its_former_descriptor),
        TEST(test_more_sources_than_one_turn_takes_are_all_heard),
        TEST(test_change_waits_for_the_new_events_alone),
        TEST(test_descriptor_that_cannot_be_waited_for_is_refused),
        TEST(test_garbage_that_leaves_garbage_is_freed_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
