/* base/log.c and the journal: one event is one entry, its fields are ours alone, and a slow journal is not
 * waited for. */
#include "log_stderr.h"

#include <endian.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* The journal's side: a socket at "journal" where a journal listens, a stream as standard error. */
static int journal = -1, stream = -1;

static void start_journal(void)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "journal" };

    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(journal, (struct sockaddr *)&sun, sizeof(sun)), 0);
}

static void stop_journal(void)
{
    fd_close(&journal);
    unlink("journal");
}

/* Standard error becomes a stream, which is named in JOURNAL_STREAM. */
static void stream_as_stderr(void)
{
    char name[64];
    struct stat st;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fd_set_nonblock(fds[0], 1), 0);
    stream = fds[0];
    take_as_stderr(fds[1]);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
    log_set_journal_path("journal");
}

static int start_both(void **arg)
{
    (void)arg;
    start_journal();
    stream_as_stderr();
    return 0;
}

static int stop_both(void **arg)
{
    reset(arg);
    stop_journal();
    fd_close(&stream);
    return 0;
}

struct entry {
    char bytes[16384];
    size_t len;
    unsigned fields;
    char names[16][32];
    const char *values[16];
    size_t lens[16];
};

/* Receives one entry and takes it apart as the journal does: every field has its length before its value. */
static void receive_entry(struct entry *ret)
{
    ssize_t n = recv(journal, ret->bytes, sizeof(ret->bytes), 0);
    char *p = ret->bytes, *end = ret->bytes + n;

    assert_true(n > 0);
    ret->len = (size_t)n;
    ret->fields = 0;
    while (p < end) {
        char *line_end = memchr(p, '\n', (size_t)(end - p));
        uint64_t len;

        assert_non_null(line_end);
        assert_true(line_end - p < 32 && end - line_end > 9 && ret->fields < 16);
        memcpy(ret->names[ret->fields], p, (size_t)(line_end - p));
        ret->names[ret->fields][line_end - p] = '\0';
        memcpy(&len, line_end + 1, sizeof(len));
        len = le64toh(len);
        p = line_end + 9;
        assert_true(len < (size_t)(end - p) && p[len] == '\n');
        ret->values[ret->fields] = p;
        ret->lens[ret->fields++] = len;
        p += len + 1;
    }
}

static void assert_field(const struct entry *e, const char *name, const char *value)
{
    unsigned found = 0;

    for (unsigned i = 0; i < e->fields; i++) {
        if (strcmp(e->names[i], name) != 0)
            continue;
        found++;
        assert_int_equal(e->lens[i], strlen(value));
        assert_memory_equal(e->values[i], value, e->lens[i]);
    }
    assert_int_equal(found, 1);
}

static void test_journal_gets_an_entry_with_its_fields(void **arg)
{
    const struct log_about about = { .service = "echo",
                                     .peer = &peer,
                                     .id = "0123456789abcdef0123456789abcdef" };
    struct entry e;

    (void)arg;
    log_open("sockd", LOG_INFO);
    assert_true(log_fd() >= 0);
    log_write(LOG_WARNING, &about, "text");
    receive_entry(&e);
    assert_int_equal(e.fields, 6);
    assert_field(&e, "MESSAGE_ID", "0123456789abcdef0123456789abcdef");
    assert_field(&e, "MESSAGE", "echo: 127.0.0.1:4000: text");
    assert_field(&e, "PRIORITY", "4");
    assert_field(&e, "SYSLOG_IDENTIFIER", "sockd");
    assert_field(&e, "SOCKD_SERVICE", "echo");
    assert_field(&e, "SOCKD_PEER", "127.0.0.1:4000");

    log_set_process(NULL, 3, 0);
    log_info("text");
    receive_entry(&e);
    assert_int_equal(e.fields, 4);
    assert_field(&e, "SOCKD_WORKER", "3");
    log_set_process(NULL, 3, 7);
    log_write(LOG_INFO, &(const struct log_about){ .worker = 2 }, "text");
    receive_entry(&e);
    assert_int_equal(e.fields, 5);
    assert_field(&e, "SOCKD_WORKER", "2");
    assert_field(&e, "SOCKD_GENERATION", "7");
    assert_string_equal(read_now(stream), "");
}

/* FAULTS.md H4 */
static void test_no_byte_of_a_stranger_makes_another_field(void **arg)
{
    struct log_about about = { 0 };
    struct entry e;

    (void)arg;
    log_open("sockd", LOG_INFO);
    for (int i = 1; i < 256; i++) {
        const char c = (char)i;
        char text[64];

        snprintf(text, sizeof(text), "a%cPRIORITY=0%cMESSAGE%cb", c, c, c);
        about.service = text;
        log_write(LOG_INFO, &about, "%s", text);
        receive_entry(&e);
        assert_int_equal(e.fields, 4);
        assert_field(&e, "PRIORITY", "6");
        assert_field(&e, "SOCKD_SERVICE", text);
    }
    log_info("%s", "a\nPRIORITY=0\n%n");
    receive_entry(&e);
    assert_field(&e, "MESSAGE", "a\\nPRIORITY=0\\n%n");
}

/* The journal cannot ask a process that is gone for its unit. */
static void test_last_words_go_to_the_stream_with_their_level(void **arg)
{
    (void)arg;
    log_open("sockd", LOG_INFO);
    log_last_words();
    log_error("%s", "file:1: wrong\n<0>x");
    log_info("and so on");
    assert_string_equal(read_now(stream), "<3>file:1: wrong\\n<0>x\n<6>and so on\n");
    assert_int_equal(recv(journal, (char[1]){ 0 }, 1, 0), -1);
}

/* FAULTS.md C11 */
static void test_slow_journal_loses_entries_and_never_waits(void **arg)
{
    struct entry e;
    unsigned n;

    (void)arg;
    log_open("sockd", LOG_INFO);
    n = log_until_lost();
    assert_true(n > 0);
    for (unsigned i = 0; i < n; i++)
        receive_entry(&e);
    log_info("after");
    receive_entry(&e);
    assert_field(&e, "MESSAGE", "1 log line was lost: it could not be written at once");
    receive_entry(&e);
    assert_field(&e, "MESSAGE", "after");
    assert_string_equal(read_now(stream), "");
}

static void test_entry_too_long_for_a_datagram_is_cut(void **arg)
{
    char program[301], much[6001];
    struct log_about about = { .service = program };
    struct entry e;
    int low = 1;

    (void)arg;
    memset(program, 'p', sizeof(program) - 1);
    program[sizeof(program) - 1] = '\0';
    memset(much, 'x', sizeof(much) - 1);
    much[sizeof(much) - 1] = '\0';
    log_open(program, LOG_INFO);
    assert_int_equal(setsockopt(log_fd(), SOL_SOCKET, SO_SNDBUF, &low, sizeof(low)), 0);
    log_set_process(NULL, UINT_MAX, 0);
    log_write(LOG_INFO, &about, "%s", much);
    receive_entry(&e);
    for (unsigned i = 0; i < e.fields; i++) {
        if (strcmp(e.names[i], "MESSAGE") != 0)
            assert_true(e.lens[i] <= 256);
        else
            assert_memory_equal(e.values[i] + e.lens[i] - 4, "x...", 4);
    }
}

static void test_restarted_journal_is_found_again(void **arg)
{
    struct entry e;

    (void)arg;
    log_open("sockd", LOG_INFO);
    log_info("first");
    receive_entry(&e);
    stop_journal();
    log_info("meanwhile");
    assert_string_equal(read_now(stream), "<6>meanwhile\n");
    start_journal();
    log_info("second");
    receive_entry(&e);
    assert_field(&e, "MESSAGE", "second");
}

static void test_without_a_journal_lines_go_to_standard_error(void **arg)
{
    (void)arg;
    stop_journal();
    log_open("sockd", LOG_INFO);
    log_info("text");
    assert_string_equal(read_now(stream), "<6>text\n");
    assert_int_equal(log_fd(), -1);
}

static void test_only_a_stream_of_the_journal_is_one(void **arg)
{
    static const char *const streams[] = { "", ":", "1", "1:", ":1", "1:2", "x:y", "1:2:3" };
    char longer[80];

    (void)arg;
    snprintf(longer, sizeof(longer), "%s0", getenv("JOURNAL_STREAM"));
    for (size_t i = 0; i <= sizeof(streams) / sizeof(streams[0]); i++) {
        setenv("JOURNAL_STREAM", i == 0 ? longer : streams[i - 1], 1);
        log_open("sockd", LOG_INFO);
        log_info("text");
        assert_matches(read_now(stream), "\\] text\n$");
        assert_int_equal(log_fd(), -1);
    }
}

#define JOURNAL_TEST(name) cmocka_unit_test_setup_teardown(name, start_both, stop_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOURNAL_TEST(test_journal_gets_an_entry_with_its_fields),
        JOURNAL_TEST(test_no_byte_of_a_stranger_makes_another_field),
        JOURNAL_TEST(test_last_words_go_to_the_stream_with_their_level),
        JOURNAL_TEST(test_slow_journal_loses_entries_and_never_waits),
        JOURNAL_TEST(test_entry_too_long_for_a_datagram_is_cut),
        JOURNAL_TEST(test_restarted_journal_is_found_again),
        JOURNAL_TEST(test_without_a_journal_lines_go_to_standard_error),
        JOURNAL_TEST(test_only_a_stream_of_the_journal_is_one),
    };

    return cmocka_run_group_tests(tests, prepare, clean_up);
}
