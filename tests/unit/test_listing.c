/* listing.c: what a process writes comes out as it went in, and nothing else is taken for a listing. */
#include "listing.h"

#include "base/fd.h"
#include "base/memfd.h"
#include "channel.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];
static struct listing listing;
static struct listing_row *rows;
static size_t n_rows;
static uint32_t total;

static int set_up(void **state)
{
    (void)state;
    rows = NULL;
    n_rows = total = 0;
    return fd_channel(pair);
}

static int tear_down(void **state)
{
    (void)state;
    fd_close(&pair[0]);
    fd_close(&pair[1]);
    free(rows);
    return 0;
}

static struct listing_row row_of(uint32_t number)
{
    return (struct listing_row){ .number = number,
                                 .service = number % 7,
                                 .wait = number % LISTING_WAITS,
                                 .requests = number * 3,
                                 .opened_ms = 1000 + number,
                                 .since_ms = 2000 + number,
                                 .bytes_in = (uint64_t)number << 33,
                                 .bytes_out = number,
                                 .peer = { .family = AF_INET, .port = (uint16_t)number } };
}

/* The descriptor that comes with the answer to question 5. */
static int send_rows(uint32_t n)
{
    struct channel_message message;
    int fd;

    listing_begin(&listing);
    for (uint32_t i = 1; i <= n; i++) {
        struct listing_row row = row_of(i);

        listing_add(&listing, &row);
    }
    listing_send(&listing, pair[0], 5);
    assert_int_equal(listing.fd, -1);
    assert_int_equal(channel_receive(pair[1], &message, &fd), 1);
    assert_int_equal(message.word, CHANNEL_LISTING);
    assert_int_equal(message.value, 5);
    return fd;
}

static int read_rows(int fd, size_t limit)
{
    int r = listing_read(fd, limit, &rows, &n_rows, &total);

    fd_close(&fd);
    return r;
}

static void assert_rows(size_t n)
{
    assert_int_equal(n_rows, n);
    for (uint32_t i = 0; i < n; i++) {
        struct listing_row row = row_of(i + 1);

        assert_int_equal(rows[i].number, row.number);
        assert_int_equal(rows[i].service, row.service);
        assert_int_equal(rows[i].wait, row.wait);
        assert_int_equal(rows[i].requests, row.requests);
        assert_int_equal(rows[i].opened_ms, row.opened_ms);
        assert_int_equal(rows[i].since_ms, row.since_ms);
        assert_int_equal(rows[i].bytes_in, row.bytes_in);
        assert_int_equal(rows[i].bytes_out, row.bytes_out);
        assert_int_equal(rows[i].peer.port, row.peer.port);
    }
}

static void test_no_connection_is_an_empty_listing(void **state)
{
    (void)state;
    assert_int_equal(read_rows(send_rows(0), 100), 0);
    assert_rows(0);
    assert_int_equal(total, 0);
}

static void test_rows_come_as_they_went_around_every_batch(void **state)
{
    static const uint32_t sizes[] = { 1, LISTING_BATCH - 1, LISTING_BATCH, LISTING_BATCH + 1,
                                      3 * LISTING_BATCH };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(read_rows(send_rows(sizes[i]), LISTING_ROWS_MAX), 0);
        assert_rows(sizes[i]);
        assert_int_equal(total, sizes[i]);
        free(rows);
        rows = NULL;
    }
}

static void test_rows_over_the_most_are_counted_only(void **state)
{
    (void)state;
    assert_int_equal(read_rows(send_rows(LISTING_ROWS_MAX + 5), SIZE_MAX), 0);
    assert_rows(LISTING_ROWS_MAX);
    assert_int_equal(total, LISTING_ROWS_MAX + 5);
}

static void test_a_reader_takes_no_more_than_its_limit(void **state)
{
    (void)state;
    assert_int_equal(read_rows(send_rows(100), 3), 0);
    assert_rows(3);
    assert_int_equal(total, 100);
    free(rows);
    assert_int_equal(read_rows(send_rows(100), 0), 0);
    assert_rows(0);
    assert_int_equal(total, 100);
}

/* A process that could not write it says so by an answer without a descriptor. */
static void test_a_listing_that_could_not_be_made_comes_without_a_descriptor(void **state)
{
    struct listing_row row = row_of(1);
    struct channel_message message;
    int fd;

    (void)state;
    listing_begin(&listing);
    fd_close(&listing.fd);
    listing_add(&listing, &row);
    listing_send(&listing, pair[0], 5);
    assert_int_equal(channel_receive(pair[1], &message, &fd), 1);
    assert_int_equal(message.word, CHANNEL_LISTING);
    assert_int_equal(fd, -1);
}

static void test_what_is_no_file_in_memory_is_not_read(void **state)
{
    int pipe_fds[2];
    int dev = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(dev >= 0);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(read_rows(pipe_fds[0], 100), -EPROTO); /* an empty pipe would block */
    fd_close(&pipe_fds[1]);
    assert_int_equal(read_rows(dev, 100), -EPROTO);
}

/* The head as listing.c writes it: rows that follow, connections that there are. */
static int forge(uint32_t n, uint32_t n_total, size_t len)
{
    static char data[1 << 16];

    memset(data, 0, sizeof data);
    memcpy(data, &n, sizeof n);
    memcpy(data + sizeof n, &n_total, sizeof n_total);
    int fd = memfd_sealed("forged", data, len);
    assert_true(fd >= 0);
    return fd;
}

static void test_a_listing_that_lies_is_refused(void **state)
{
    size_t row = sizeof(struct listing_row);

    (void)state;
    assert_int_equal(read_rows(forge(0, 0, 0), 100), -EPROTO);
    assert_int_equal(read_rows(forge(0, 0, 7), 100), -EPROTO);
    assert_int_equal(read_rows(forge(1, 1, 8 + row - 1), 100), -EPROTO);
    assert_int_equal(read_rows(forge(2, 1, 8 + 2 * row), 100), -EPROTO);
    assert_int_equal(read_rows(forge(LISTING_ROWS_MAX + 1, UINT32_MAX, 1 << 16), 100), -EPROTO);
    assert_int_equal(read_rows(forge(UINT32_MAX, UINT32_MAX, 1 << 16), SIZE_MAX), -EPROTO);
    assert_null(rows);
    assert_int_equal(read_rows(forge(1, UINT32_MAX, 8 + row), 100), 0);
    assert_int_equal(n_rows, 1);
    assert_int_equal(total, UINT32_MAX);
}

static void test_every_wait_has_its_words(void **state)
{
    (void)state;
    for (int i = 0; i < LISTING_WAITS; i++) {
        assert_non_null(listing_waits[i].word);
        assert_non_null(listing_waits[i].words);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(listing_waits[i].word, listing_waits[j].word);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_connection_is_an_empty_listing),
        TEST(test_rows_come_as_they_went_around_every_batch),
        TEST(test_rows_over_the_most_are_counted_only),
        TEST(test_a_reader_takes_no_more_than_its_limit),
        TEST(test_a_listing_that_could_not_be_made_comes_without_a_descriptor),
        TEST(test_what_is_no_file_in_memory_is_not_read),
        TEST(test_a_listing_that_lies_is_refused),
        TEST(test_every_wait_has_its_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
