/* The table of keys: its rows are whole, and its types print what they read. */
#include "conf_try.h"

#include "conf_key.h"

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (const struct conf_key *key = conf_keys; key->name; key++) {
        assert_non_null(key->help);
        assert_non_null(key->type);
        assert_non_null(key->type->expects);
        if (key->type == &conf_type_int)
            assert_non_null(key->unit);
        if (key->type == &conf_type_word || key->type == &conf_type_transport)
            assert_non_null(key->words);
        if (key->scope == CONF_DAEMON)
            assert_non_null(key->preset);
        else
            assert_int_not_equal(key->transports, 0);
        assert_true(key->lo <= key->hi);
    }
}

static void test_names_are_unique(void **state)
{
    bool old;

    (void)state;
    for (const struct conf_key *key = conf_keys; key->name; key++)
        assert_ptr_equal(conf_key_find(conf_keys, key->name, &old), key);
    assert_null(conf_key_find(conf_keys, "services", &old));
}

static void test_older_name_finds_its_row(void **state)
{
    static const struct conf_key keys[] = {
        { .name = "one" },
        { .name = "two", .old_name = "zwei" },
        { .name = NULL },
    };
    bool old;

    (void)state;
    assert_ptr_equal(conf_key_find(keys, "zwei", &old), &keys[1]);
    assert_true(old);
    assert_ptr_equal(conf_key_find(keys, "two", &old), &keys[1]);
    assert_false(old);
    assert_null(conf_key_find(keys, "drei", &old));
}

static const struct conf_key *find(const char *name)
{
    bool old;
    const struct conf_key *key = conf_key_find(conf_keys, name, &old);

    assert_non_null(key);
    return key;
}

/* Reads VALUE for the key, and returns what it prints; "-REASON" when it is refused. */
static char *printed(const struct conf_key *key, const char *value)
{
    struct service service = { .name = NULL };
    struct conf conf = { .refs = 1 };
    void *base = key->scope == CONF_DAEMON ? (void *)&conf : (void *)&service;
    struct conf_fault fault;
    struct conf_node *root;
    char *text;

    assert_true(asprintf(&text, "%s = %s;", key->name, value) > 0);
    assert_int_equal(conf_node_parse(text, strlen(text), &root, &fault), 0);
    free(text);
    if (key->type->parse(key, &root->item[0], conf_key_field(key, base), &fault) < 0)
        assert_true(asprintf(&text, "-%s", fault.text) > 0);
    else
        text = conf_key_text(key, base, CONF_WHOLE);
    if (key->type->done)
        key->type->done(conf_key_field(key, base));
    conf_node_free(root);
    return text;
}

static void assert_printed(const char *name, const char *value, const char *expected)
{
    char *text = printed(find(name), value);

    assert_string_equal(text, expected);
    free(text);
}

static void test_every_default_prints_as_the_table_has_it(void **state)
{
    (void)state;
    for (const struct conf_key *key = conf_keys; key->name; key++)
        if (key->preset)
            assert_printed(key->name, key->preset, key->preset);
}

static void test_values_print_in_one_form(void **state)
{
    (void)state;
    assert_printed("idle_timeout", "90", "\"90s\"");
    assert_printed("idle_timeout", "\"120s\"", "\"2m\"");
    assert_printed("idle_timeout", "\"0\"", "0");
    assert_printed("max_request", "65536", "\"64k\"");
    assert_printed("max_request", "100", "\"100\"");
    assert_printed("transport", "( \"udp\", \"tcp\" )", "[ \"tcp\", \"udp\" ]");
    assert_printed("transport", "[ \"udp\" ]", "\"udp\"");
    assert_printed("host", "[ \"::1\" ]", "\"::1\"");
    assert_printed("host", "( \"a\", \"fe80::1%eth0\", \"*\", \"\" )",
                   "[ \"a\", \"fe80::1%eth0\", \"*\", \"\" ]");
    assert_printed("port", "\"0080\"", "80");
    assert_printed("mode", "\"600\"", "\"0600\"");
    assert_printed("path", "\"@x\\x01\\\"\\\\\"", "\"@x\\x01\\\"\\\\\"");
    assert_printed("framing", "\"delimiter:\\0\"", "\"delimiter:\\\\0\"");
    assert_printed("framing", "\"delimiter:\\\\0\"", "\"delimiter:\\\\0\"");
    assert_printed("error_reply", "\"a\\n\\\\0\\\\x011\\\\\\\\ \\\"b\\\" \\\\t\"",
                   "\"a\\\\n\\\\0\\\\x011\\\\\\\\ \\\"b\\\" \\\\t\"");
    assert_printed("allow", "\"192.0.2.1\"", "[ \"192.0.2.1\" ]");
    assert_printed("allow", "[ \"::ffff:192.0.2.0/120\", \"2001:db8::/32\" ]",
                   "[ \"192.0.2.0/24\", \"2001:db8::/32\" ]");
    assert_printed("environment", "\"LANG\"", "[ \"LANG\" ]");
    assert_printed("command", "\"cat\"", "[ \"cat\" ]");
    assert_printed("log_level", "\"debug\"", "\"debug\"");
    assert_printed("low_ports", "TRUE", "true");
}

static void test_wrong_value_is_refused_with_words(void **state)
{
    (void)state;
    assert_printed(
        "workers", "\"4\"",
        "-expects a whole number, such as 100 (how many processes serve clients; 0 is one per usable"
        " processor)");
    assert_printed(
        "workers", "-1",
        "-is too small; the least is 0 processes (how many processes serve clients; 0 is one per usable"
        " processor)");
    assert_printed(
        "workers", "257",
        "-is too large; the most is 256 processes (how many processes serve clients; 0 is one per usable"
        " processor)");
    assert_printed(
        "worker_timeout", "\"99ms\"",
        "-is too small; the least is 100ms (how long a worker may be silent before it is replaced)");
    assert_printed("worker_timeout", "\"31d\"",
                   "-is too large; the most is 30d (how long a worker may be silent before it is replaced)");
    assert_printed("worker_timeout", "9223372036854775807L",
                   "-is too large; the most is 30d (how long a worker may be silent before it is replaced)");
    assert_printed(
        "worker_timeout", "1.5",
        "-expects a time, such as \"250ms\", \"30s\", \"5m\", or a number of seconds (how long a worker"
        " may be silent before it is replaced)");
    assert_printed(
        "worker_timeout", "-5",
        "-expects a time, such as \"250ms\", \"30s\", \"5m\", or a number of seconds (how long a worker"
        " may be silent before it is replaced)");
    assert_printed("max_request", "\"99999999999999999999\"",
                   "-is too large; the most is 1g (the longest request)");
    assert_printed("max_request", "true",
                   "-expects a size, such as \"64k\", \"1m\", or a number of bytes (the longest request)");
    assert_printed("enabled", "1", "-expects true or false (whether the service is served at all)");
    assert_printed("overload", "\"refse\"",
                   "-\"refse\" is none of \"wait\", \"refuse\"; did you mean \"refuse\"?");
    assert_printed(
        "handler", "\"\"",
        "-\"\" is none of \"echo\", \"discard\", \"daytime\", \"helper\", \"program\", \"plugin\"");
    assert_printed("transport", "[ ]",
                   "-expects a word or a list of words, such as [ \"udp\", \"tcp\" ] (the kinds of socket)");
    assert_printed("transport", "[ \"tcp\", \"tcp\" ]", "-\"tcp\" is written twice");
    assert_printed("port", "0", "-0 is no port; ports are 1 to 65535");
    assert_printed("port", "\"65536\"", "-65536 is no port; ports are 1 to 65535");
    assert_printed("port", "\"no such port\"",
                   "-\"no such port\" is no port; it must be a number, or a name in /etc/services");
    assert_printed("mode", "660",
                   "-expects octal digits in quotes, such as \"0660\" (the permissions of the socket file)");
    assert_printed("mode", "\"0999\"",
                   "-\"0999\" is no mode; it must be three octal digits, as in \"660\" or \"0660\"");
    assert_printed("mode", "\"04755\"",
                   "-\"04755\" is no mode; it must be three octal digits, as in \"660\" or \"0660\"");
    assert_printed("host", "\"127.0.0.1:80\"", "-\"127.0.0.1:80\" is no host; the port has a key of its own");
    assert_printed("host", "\"[::1]\"", "-\"[::1]\" is no host; write an IPv6 address without brackets");
    assert_printed("host", "\"a b\"", "-\"a b\" is no host; write several as a list: [ \"one\", \"two\" ]");
    assert_printed(
        "path", "\"run/x\"",
        "-\"run/x\" is no path; it must begin with \"/\", or with \"@\" for a name in the abstract name"
        " space");
    assert_printed("allow", "[ \"192.0.2.1/24\" ]",
                   "-\"192.0.2.1/24\" is no address and no network; bits behind the prefix must be zero");
    assert_printed("allow", "[ \"192.0.2.0/33\" ]",
                   "-\"192.0.2.0/33\" is no address and no network; the prefix must be 0 to 32");
    assert_printed("allow", "[ \"::/129\" ]",
                   "-\"::/129\" is no address and no network; the prefix must be 0 to 128");
    assert_printed("allow", "[ \"fred/24\" ]", "-\"fred/24\" is no address and no network");
    assert_printed("allow", "[ \"localhost\" ]", "-\"localhost\" is no address and no network");
    assert_printed("environment", "5",
                   "-expects a variable or a list of variables, such as [ \"NAME=value\", \"LANG\" ] (what is"
                   " added to their environment; a name alone passes the daemon's own)");
    assert_printed("error_reply", "\"a\\\\q\"",
                   "-\"a\\\\q\" has an unknown escape; a backslash itself is written \\\\\\\\");
}

static void test_what_the_user_wrote_is_escaped_and_cut(void **state)
{
    char value[300], *text;

    (void)state;
    assert_printed("overload", "\"\\x1b[31m\\n\"", "-\"\\x1b[31m\\n\" is none of \"wait\", \"refuse\"");
    memset(value, 'x', sizeof(value));
    value[0] = value[sizeof(value) - 2] = '"';
    value[sizeof(value) - 1] = '\0';
    text = printed(find("overload"), value);
    assert_true(strlen(text) < 200);
    assert_non_null(strstr(text, "xxx...\" is none of"));
    free(text);
}

static void test_path_of_a_socket_has_107_bytes(void **state)
{
    char value[120], *text;

    (void)state;
    memset(value, 'x', sizeof(value));
    memcpy(value, "\"/", 2);
    strcpy(value + 108, "\"");
    text = printed(find("path"), value);
    assert_string_equal(text, value);
    free(text);
    strcpy(value + 108, "x\"");
    text = printed(find("path"), value);
    assert_non_null(strstr(text, "has 108 bytes; the path of a socket has at most 107"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_older_name_finds_its_row),
        cmocka_unit_test(test_every_default_prints_as_the_table_has_it),
        cmocka_unit_test(test_values_print_in_one_form),
        cmocka_unit_test(test_wrong_value_is_refused_with_words),
        cmocka_unit_test(test_what_the_user_wrote_is_escaped_and_cut),
        cmocka_unit_test(test_path_of_a_socket_has_107_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
