/* Loading from files: the main file, the directory beside it, and everything that can be wrong with them. */
#include "conf_try.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each test has a directory of its own, and works in it; its name is the state. */
static int set_up(void **state)
{
    char *dir = strdup("/tmp/sockd-test-conf-XXXXXX");

    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    umask(022);
    *state = dir;
    return 0;
}

static int tear_down(void **state)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -rf '%s'", (const char *)*state);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(system(command), 0);
    free(*state);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void write_service(const char *path, const char *text)
{
    mkdir("x.d", 0755);
    write_file(path, text);
}

static struct conf *load(int expected, char **ret_said)
{
    struct complaints complaints;
    struct conf *conf = NULL;

    complaints_init(&complaints);
    assert_int_equal(conf_load("x.conf", &complaints, &conf), expected);
    *ret_said = complaints_text(&complaints);
    complaints_done(&complaints);
    return conf;
}

static void assert_load(int expected, const char *expected_said)
{
    char *said;
    struct conf *conf = load(expected, &said);

    assert_string_equal(said, expected_said);
    free(said);
    conf_unref(conf);
}

#define ECHO "handler = \"echo\"; "

static void test_services_come_from_the_file_and_the_directory_in_order(void **state)
{
    struct conf *conf;
    char *said;

    (void)state;
    write_file("x.conf",
               "idle_timeout = \"3s\"; services: { z: { " ECHO "port = 1; }; y: { " ECHO "port = 2; }; };");
    write_service("x.d/b.conf", ECHO "port = 3; idle_timeout = 5;");
    write_service("x.d/a.conf", ECHO "port = 4; # a comment without an end of line");
    conf = load(0, &said);
    assert_string_equal(said, "");
    free(said);
    assert_int_equal(conf->n_services, 4);
    assert_string_equal(conf->services[0].name, "z");
    assert_string_equal(conf->services[1].name, "y");
    assert_string_equal(conf->services[2].name, "a");
    assert_string_equal(conf->services[3].name, "b");
    assert_int_equal(conf->services[2].idle_timeout, 3000);
    assert_int_equal(conf->services[3].idle_timeout, 5000);
    assert_string_equal(conf->services[3].file, "x.d/b.conf");
    assert_ptr_equal(conf_find(conf, "a"), &conf->services[2]);
    assert_null(conf_find(conf, "c"));
    conf_unref(conf_ref(conf));
    conf_unref(conf);
}

static void test_services_may_be_in_the_directory_alone(void **state)
{
    (void)state;
    write_file("x.conf", "");
    write_service("x.d/a.conf", ECHO "port = 4;");
    assert_load(0, "");
}

static void test_files_that_are_no_services_are_skipped(void **state)
{
    (void)state;
    write_file("x.conf", "services: { z: { " ECHO "port = 1; }; };");
    write_service("x.d/.a.conf", "(");
    write_service("x.d/.conf", "(");
    write_service("x.d/a.conf~", "(");
    write_service("x.d/a.conf.dpkg-old", "(");
    write_service("x.d/README", "(");
    assert_load(0, "");
}

static void test_file_with_a_bad_name_is_told(void **state)
{
    (void)state;
    write_file("x.conf", "services: { z: { " ECHO "port = 1; }; };");
    write_service("x.d/a\nb.conf", ECHO "port = 2;");
    assert_load(
        -EINVAL,
        "x.d/a\\nb.conf: the name before .conf is no name of a service; it must begin with a letter, have"
        " letters, digits, - and _ only, and at most 63 of them\n");
}

static void test_service_in_both_places_is_told_with_both(void **state)
{
    (void)state;
    write_file("x.conf", "services: {\n z: { " ECHO "port = 1; }; };");
    write_service("x.d/z.conf", ECHO "port = 2;");
    assert_load(-EINVAL, "x.d/z.conf:1: service z is in x.conf:2 already\n");
}

static void test_main_file_that_cannot_be_read_hides_nothing_of_the_directory(void **state)
{
    (void)state;
    write_service("x.d/a.conf", "port = 2; framing = \"lin\";");
    write_service("x.d/b.conf", ECHO "port = 3;");
    assert_load(-ENOENT, "x.conf: cannot be read: No such file or directory\n"
                         "x.d/a.conf:1: framing: \"lin\" is no framing; did you mean \"line\"?\n");
    assert_int_equal(mkdir("x.conf", 0755), 0);
    assert_load(-EINVAL, "x.conf: is no regular file\n"
                         "x.d/a.conf:1: framing: \"lin\" is no framing; did you mean \"line\"?\n");
}

static void test_one_syntax_error_per_file_and_all_others_of_all_files(void **state)
{
    (void)state;
    write_file("x.conf", "framng = 1;\nservices: { z: { " ECHO "port = 1;\n framing = \"lin\"; }; };");
    write_service("x.d/a.conf", ECHO "port = 2;\n\n} (;");
    write_service("x.d/b.conf", "handler = \"eco\"; port = 2;\n workers = 3;\nframing = \"lin\";");
    assert_load(-EINVAL,
                "x.conf:1: framng: unknown key; did you mean \"framing\"?\n"
                "x.conf:3: services.z.framing: \"lin\" is no framing; did you mean \"line\"?\n"
                "x.d/a.conf:3: syntax error\n"
                "x.d/b.conf:2: workers: belongs at the top level of x.conf\n"
                "x.d/b.conf:3: framing: \"lin\" is no framing; did you mean \"line\"?\n"
                "x.d/b.conf:1: handler: \"eco\" is none of \"echo\", \"discard\", \"daytime\", \"helper\", "
                "\"program\", \"plugin\"; did you mean "
                "\"echo\"?\n");
}

static void test_syntax_error_is_told_with_what_its_line_shows(void **state)
{
    (void)state;
    write_file("x.conf", "services: {\n 1a: { " ECHO "port = 1; }; };");
    write_service("x.d/a.conf", "port = 2;\nhandler = echo;");
    write_service("x.d/b.conf", "port = 3;\nhandler = 'echo';");
    write_service("x.d/c.conf", "\xef\xbb\xbfport = 4;");
    write_service("x.d/d.conf", "port = 5;\nidle_timeout = 5m;");
    assert_load(-EINVAL,
                "x.conf:2: syntax error; 1a is no name; it must begin with a letter\n"
                "x.d/a.conf:2: syntax error; text goes in double quotes, as in \"echo\"\n"
                "x.d/b.conf:2: syntax error; text goes in double quotes, as in \"echo\"\n"
                "x.d/c.conf:1: the file begins with a byte order mark; save it as UTF-8 without one\n"
                "x.d/d.conf:2: syntax error; text goes in double quotes, as in \"5m\"\n");
}

static void test_each_wrong_element_of_a_list_is_told_once_on_its_line(void **state)
{
    (void)state;
    write_file("x.conf",
               "allow = [ \"fred\", \"::1\",\n\"10.0.0.0/33\" ];\n"
               "services: { z: { " ECHO "port = 1; host = ( 1, \"a b\", \"x\", ( 2 ) );\n"
               "transport = [ \"tpc\", \"tcp\", \"tcp\", \"udpp\" ]; }; y: { " ECHO "port = 2; }; };");
    write_service("x.d/a.conf", "handler = \"program\"; port = 3; command = ( 1, \"a b\", 2 );");
    assert_load(
        -EINVAL,
        "x.conf:1: allow: \"fred\" is no address and no network\n"
        "x.conf:2: allow: \"10.0.0.0/33\" is no address and no network; the prefix must be 0 to 32\n"
        "x.conf:4: services.z.transport: \"tpc\" is none of \"tcp\", \"udp\", \"unix\", \"unixgram\"; did "
        "you mean \"tcp\"?\n"
        "x.conf:4: services.z.transport: \"tcp\" is written twice\n"
        "x.conf:4: services.z.transport: \"udpp\" is none of \"tcp\", \"udp\", \"unix\", \"unixgram\"; did "
        "you mean \"udp\"?\n"
        "x.conf:3: services.z.host: expects a host or a list of hosts, such as [ \"127.0.0.1\", \"::1\" ] "
        "(the names or addresses that are bound; \"*\" is every address)\n"
        "x.conf:3: services.z.host: \"a b\" is no host; write several as a list: [ \"one\", \"two\" ]\n"
        "x.conf:3: services.z.host: expects a host or a list of hosts, such as [ \"127.0.0.1\", \"::1\" ] "
        "(the names or addresses that are bound; \"*\" is every address)\n"
        "x.d/a.conf:1: command: expects a command as a list of words, such as [ \"/bin/cat\", \"-u\" ] (the "
        "program that answers, and its arguments)\n"
        "x.d/a.conf:1: command: expects a command as a list of words, such as [ \"/bin/cat\", \"-u\" ] (the "
        "program that answers, and its arguments)\n");
}

static void test_broken_main_file_hides_no_mistake_of_the_directory_and_adds_none(void **state)
{
    (void)state;
    write_file("x.conf", "handler = \"echo\"; port = 5\nservices: { z: { } ");
    write_service("x.d/a.conf", "log = \"x\";");
    assert_load(-EINVAL,
                "x.conf:2: syntax error\n"
                "x.d/a.conf:1: log: \"x\" is none of \"none\", \"errors\", \"connections\", \"requests\"\n");
}

static void test_unknown_key_is_told_with_its_path(void **state)
{
    char text[400], name[301];

    (void)state;
    write_file("x.conf", "services: { z: { " ECHO "port = 1;\n framng = \"line\"; nonesuch = 1; }; };");
    write_service("x.d/a.conf", ECHO "port = 2;\nprot = 3;");
    assert_load(-EINVAL, "x.conf:2: services.z.framng: unknown key; did you mean \"framing\"?\n"
                         "x.conf:2: services.z.nonesuch: unknown key\n"
                         "x.d/a.conf:2: prot: unknown key; did you mean \"port\"?\n");
    memset(name, 'x', 300);
    name[300] = '\0';
    snprintf(text, sizeof(text), ECHO "port = 2; %s = 3;", name);
    write_file("x.conf", "");
    write_service("x.d/a.conf", text);
    snprintf(text, sizeof(text), "x.d/a.conf:1: %.64s...: unknown key\n", name);
    assert_load(-EINVAL, text);
}

static void test_key_or_service_written_twice_is_told(void **state)
{
    (void)state;
    write_file("x.conf", "workers = 1;\n\nworkers = 2;");
    assert_load(-EINVAL, "x.conf:3: workers: is in line 1 already\n");
    write_file("x.conf", "services: { a: { };\n a: { }; };");
    assert_load(-EINVAL, "x.conf:2: services.a: is in line 1 already\n");
    write_file("x.conf",
               "services: { a: { port = 1; host = \"x\"; };\n b: { port = 1; host\n = \"port = 1\";\n"
               "# port = 7\nhost = [ \"y\" ]; }; };");
    assert_load(-EINVAL, "x.conf:5: services.b.host: is in line 2 already\n");
    write_file("x.conf", "");
    write_service("x.d/a.conf", ECHO "log = \"none\";\n port = 2; log = \"none\"; port = 1;");
    assert_load(-EINVAL, "x.d/a.conf:2: log: is in line 1 already\n");
}

static void test_number_that_libconfig_would_cut_is_told_with_its_line(void **state)
{
    (void)state;
    write_file("x.conf", "\nmax_memory = 5000000000;");
    assert_load(-EINVAL, "x.conf:2: the number 5000000000 does not fit 32 bits; write 5000000000L\n");
    write_file("x.conf", "max_memory = 5000000000L; services: { z: { " ECHO "port = 1; }; };");
    assert_load(0, "");
}

static void test_wrong_structure_is_told(void **state)
{
    (void)state;
    write_file("x.conf", "services = 5;");
    assert_load(
        -EINVAL,
        "x.conf:1: services: must be a group of services, as in services: { echo: { port = 50000; handler ="
        " \"echo\"; }; };\n");
    write_file("x.conf", "services: { a = 5;\n *: { }; };");
    assert_load(
        -EINVAL,
        "x.conf:1: services.a: must be a group of keys, as in a: { port = 50000; handler = \"echo\"; };\n"
        "x.conf:2: \"*\" is no name of a service; it must begin with a letter, have letters, digits, - and _"
        " only, and at most 63 of them\n");
}

static void test_file_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    assert_load(-ENOENT, "x.conf: cannot be read: No such file or directory\n");
    assert_int_equal(mkfifo("x.conf", 0644), 0);
    assert_load(-EINVAL, "x.conf: is no regular file\n");
    unlink("x.conf");
    assert_int_equal(mkdir("x.conf", 0755), 0);
    assert_load(-EINVAL, "x.conf: is no regular file\n");
}

static void test_file_over_a_megabyte_is_refused(void **state)
{
    (void)state;
    write_file("x.conf", "");
    assert_int_equal(truncate("x.conf", (1 << 20) + 1), 0);
    assert_load(-EFBIG, "x.conf: is larger than 1048576 bytes\n");
}

static void test_nul_byte_in_a_file_is_refused(void **state)
{
    (void)state;
    write_file("x.conf", "\n\n");
    assert_int_equal(truncate("x.conf", 3), 0);
    assert_load(-EINVAL, "x.conf:3: a NUL byte; this is no text file\n");
}

static void test_h8_file_that_others_may_write_is_a_warning(void **state)
{
    (void)state;
    write_file("x.conf", "");
    write_service("x.d/a.conf", ECHO "port = 2;");
    chmod("x.d/a.conf", 0646);
    chmod("x.conf", 0664);
    assert_load(0, "warning: x.conf: others than its owner may write it (mode 0664)\n"
                   "warning: x.d/a.conf: others than its owner may write it (mode 0646)\n");
}

static void test_directory_that_others_may_write_is_a_warning(void **state)
{
    (void)state;
    write_file("x.conf", "");
    write_service("x.d/a.conf", ECHO "port = 2;");
    chmod("x.d", 0777);
    assert_load(0, "warning: x.d: others than its owner may write it (mode 0777)\n");
}

static void test_h8_file_of_a_stranger_is_a_warning(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root gives files away */
    write_file("x.conf", "");
    write_service("x.d/a.conf", ECHO "port = 2;");
    assert_int_equal(chown("x.conf", 12345, 0), 0);
    assert_int_equal(chown("x.d", 12346, 0), 0);
    assert_load(0, "warning: x.conf: its owner, uid 12345, is neither root nor the user that sockd runs as\n"
                   "warning: x.d: its owner, uid 12346, is neither root nor the user that sockd runs as\n");
    assert_int_equal(chmod(".", 0711), 0);
    assert_int_equal(seteuid(12345), 0);
    assert_load(0, "warning: x.d: its owner, uid 12346, is neither root nor the user that sockd runs as\n");
    assert_int_equal(seteuid(0), 0);
}

static void test_h8_symbolic_links_are_followed(void **state)
{
    (void)state;
    write_file("x.conf", "");
    write_service("x.d/..data", ECHO "port = 2;");
    assert_int_equal(symlink("..data", "x.d/a.conf"), 0);
    assert_load(0, "");
    unlink("x.d/..data");
    assert_load(-EINVAL, "x.d/a.conf: cannot be read: No such file or directory\n");
}

static void test_more_services_than_the_counters_have_room_for_are_refused(void **state)
{
    char *text = NULL, *said;
    FILE *out = open_text(&text);

    (void)state;
    fputs(ECHO "services: {\n", out);
    for (int i = 0; i < CONF_SERVICES_MAX + 3; i++)
        fprintf(out, "s%d: { port = %d; };\n", i, i + 1);
    fputs("};", out);
    fclose(out);
    assert_null(try_text(text, &said));
    assert_string_equal(said, "t:1026: more than 1024 services\n");
    free(said);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_services_come_from_the_file_and_the_directory_in_order),
        TEST(test_services_may_be_in_the_directory_alone),
        TEST(test_files_that_are_no_services_are_skipped),
        TEST(test_file_with_a_bad_name_is_told),
        TEST(test_service_in_both_places_is_told_with_both),
        TEST(test_main_file_that_cannot_be_read_hides_nothing_of_the_directory),
        TEST(test_one_syntax_error_per_file_and_all_others_of_all_files),
        TEST(test_syntax_error_is_told_with_what_its_line_shows),
        TEST(test_each_wrong_element_of_a_list_is_told_once_on_its_line),
        TEST(test_broken_main_file_hides_no_mistake_of_the_directory_and_adds_none),
        TEST(test_unknown_key_is_told_with_its_path),
        TEST(test_key_or_service_written_twice_is_told),
        TEST(test_number_that_libconfig_would_cut_is_told_with_its_line),
        TEST(test_wrong_structure_is_told),
        TEST(test_file_that_cannot_be_read_is_told),
        TEST(test_file_over_a_megabyte_is_refused),
        TEST(test_nul_byte_in_a_file_is_refused),
        TEST(test_h8_file_that_others_may_write_is_a_warning),
        TEST(test_h8_file_of_a_stranger_is_a_warning),
        TEST(test_directory_that_others_may_write_is_a_warning),
        TEST(test_h8_symbolic_links_are_followed),
        TEST(test_more_services_than_the_counters_have_room_for_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
