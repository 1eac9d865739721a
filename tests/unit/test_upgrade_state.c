/* upgrade_state.c, upgrade_read.c and upgrade_print.c: what a master leaves to the next one, there and back;
 * and what is refused. */
#include "test.h"

#include "upgrade_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD       "sockd-upgrade 1\nversion :0.1.0\nbegan 5\nsecret -1 9223372036854775807\n"
#define STATS      "stats 4 :1/2/3\n"
#define GENERATION "generation 7 1 1700000000 0 2 1 -1 :workers%20=%201;%0A\n"

static const char whole[] =
    HEAD "control 3 8 -99 :/run/x%20y/%C3%A4%25.sock\nclient 12\nclient 13\n"
         "listener 5 2 8 77 :/run/a.sock - :sockd-a-0\nlistener 6 0 0 0 - :web -\n"
         "door 14\ndoor 15\n" STATS "stats 16 :pages%202\nslot 0 :echo\nslot 1023 :greet\n"
         "exporter 103 17 18 -1 1 0 0 7 0\n"
         "generations 7 1 1024 -1\ndrained :echo\nunstored :sockd-old-0\n"
         "reload 3 1 0 1700000000 :generation%207\n" GENERATION
         "use 0 0\nuse 1 4\nprocess 1 100 7 8 0 1 0 0 1000 0\nprocess 2 0 -1 -1 -1 0 0 0 0 3\n"
         "process 0 102 9 -1 2 1 1 1 5 0\ntrouble 1 0 :helper%20died\nshelved 0 :init%20died\n";

/* -EINVAL with WHY, or 0 with what is printed of it again. The caller frees *RET_AGAIN. */
static int read_text(const char *text, size_t len, char why[UPGRADE_WHY_MAX], char **ret_again)
{
    struct upgrade_state state;
    char *copy = malloc(len + 1);
    size_t size = 0;

    assert_non_null(copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    *ret_again = NULL;
    why[0] = '\0';
    int r = upgrade_state_read(copy, len, &state, why);
    free(copy);
    if (r < 0)
        return r;
    FILE *out = open_memstream(ret_again, &size);
    assert_non_null(out);
    upgrade_state_print(&state, out);
    assert_int_equal(fclose(out), 0);
    upgrade_state_done(&state);
    return 0;
}

static void test_what_is_printed_reads_as_the_same(void **arg)
{
    char why[UPGRADE_WHY_MAX], *again;

    (void)arg;
    assert_int_equal(read_text(whole, strlen(whole), why, &again), 0);
    assert_string_equal(again, whole);
    free(again);
}

static void test_values_arrive(void **arg)
{
    struct upgrade_state s;
    char why[UPGRADE_WHY_MAX], *text = strdup(whole);

    (void)arg;
    assert_non_null(text);
    assert_int_equal(upgrade_state_read(text, strlen(text), &s, why), 0);
    free(text);
    assert_string_equal(s.version, "0.1.0");
    assert_string_equal(s.control_path, "/run/x y/\xc3\xa4%.sock");
    assert_int_equal(s.n_clients, 2);
    assert_null(s.listeners[1].path);
    assert_string_equal(s.listeners[1].inherited, "web");
    assert_int_equal(s.slots[1].slot, 1023);
    assert_string_equal(s.drained[0], "echo");
    assert_string_equal(s.unstored[0], "sockd-old-0");
    assert_string_equal(s.stats[1].layout, "pages 2");
    assert_int_equal(s.doors[1], 15);
    assert_int_equal(s.exporter.channel_fd, 18);
    assert_string_equal(s.generations[0].conf, "workers = 1;\n");
    assert_int_equal(s.generations[0].n_processes, 3);
    assert_int_equal(s.generations[0].processes[1].failures, 3);
    assert_string_equal(s.generations[0].troubles[0].why, "helper died");
    assert_string_equal(s.generations[0].shelved[0].why, "init died");
    upgrade_state_done(&s);
}

static void test_every_beginning_is_refused_or_whole(void **arg)
{
    char why[UPGRADE_WHY_MAX], *again;

    (void)arg;
    for (size_t len = 0; len < strlen(whole); len++) {
        int r = read_text(whole, len, why, &again);
        /* Cut behind a line, of a generation for instance, it is a smaller state. */
        assert_true(r == -EINVAL ? why[0] != '\0' : whole[len - 1] == '\n');
        free(again);
    }
}

static void test_what_is_no_state_is_refused_with_a_reason(void **arg)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "no state of sockd" },
        { "\n", "no state of sockd" },
        { "sockd-upgrade", "no state of sockd" },
        { "sockd-upgrade 2\n", "has version 2" },
        { "sockd-upgrade 0\n", "has version 0" },
        { "sockd-upgrade 1\n", "not whole" },
        { HEAD STATS, "not whole" },
        { HEAD GENERATION, "not whole" },
        { HEAD "\n", "line 5 of the state" },
        { HEAD "color :red\n", "line 5 of the state" },
        { HEAD " began 5\n", "line 5 of the state" },
        { HEAD "began  5\n", "line 5 of the state" },
        { HEAD "began 5 5\n", "line 5 of the state" },
        { HEAD "began -5\n", "line 5 of the state" },
        { HEAD "began 99999999999999999999\n", "line 5 of the state" },
        { HEAD "stats 2 :x\n", "line 5 of the state" },
        { HEAD "stats -1 :x\n", "line 5 of the state" },
        { HEAD "stats 4 -\n", "line 5 of the state" },
        { HEAD "stats 4 x\n", "line 5 of the state" },
        { HEAD "stats 4 :a%\n", "line 5 of the state" },
        { HEAD "stats 4 :a%4\n", "line 5 of the state" },
        { HEAD "stats 4 :a%4g\n", "line 5 of the state" },
        { HEAD "stats 4 :a%00\n", "line 5 of the state" },
        { HEAD "control 3 0 0 -\n", "line 5 of the state" },
        { HEAD "listener 5 3 0 0 - - -\n", "line 5 of the state" },
        { HEAD "door 2\n", "line 5 of the state" },
        { HEAD "unstored -\n", "line 5 of the state" },
        { HEAD "exporter 103 -1 18 -1 1 0 0 7 0\n", "line 5 of the state" },
        { HEAD "use 0 0\n", "line 5 of the state" },
        { HEAD "process 1 100 7 8 0 1 0 0 1000 0\n", "line 5 of the state" },
        { HEAD GENERATION "use 0 0\n", "line 6 of the state" },
        { HEAD GENERATION "process 3 100 7 8 0 1 0 0 1000 0\n", "line 6 of the state" },
        { HEAD GENERATION "process 1 100 -1 8 0 1 0 0 1000 0\n", "line 6 of the state" },
        { HEAD GENERATION "process 1 100 7 8 0 2 0 0 1000 0\n", "line 6 of the state" },
        { HEAD GENERATION "process 1 0 -1 -1 0 0 0 0 0 0\nprocess 1 0 -1 -1 0 0 0 0 0 0\n", "line 7" },
        { HEAD "generation 7 4 0 0 2 1 -1 :x\n", "line 5 of the state" },
        { HEAD "generation 7 1 0 0 0 1 -1 :x\n", "line 5 of the state" },
        { HEAD "began 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n", "line 5 of the state" },
    };
    char why[UPGRADE_WHY_MAX], *again;

    (void)arg;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(read_text(rows[i].text, strlen(rows[i].text), why, &again), -EINVAL);
        if (!strstr(why, rows[i].why))
            fail_msg("%s: %s", rows[i].text, why);
    }
    assert_int_equal(read_text(whole, sizeof(whole), why, &again), -EINVAL); /* a NUL at the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_printed_reads_as_the_same),
        cmocka_unit_test(test_values_arrive),
        cmocka_unit_test(test_every_beginning_is_refused_or_whole),
        cmocka_unit_test(test_what_is_no_state_is_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
