/* What must hold between keys, services and the daemon: each break is told in one line, with its place. */
#include "conf_try.h"

#include <grp.h>

static void test_key_that_means_nothing_for_the_handler_is_refused(void **state)
{
    (void)state;
    assert_service_said("port = 1; handler = \"echo\";\nhandler_timeout = 5;",
                        "t:2: services.s.handler_timeout: means nothing for handler \"echo\"\n");
    assert_service_said("port = 1; handler = \"discard\"; max_reply = 5;",
                        "t:1: services.s.max_reply: means nothing for handler \"discard\"\n");
    assert_service_said("port = 1; handler = \"daytime\"; request_timeout = 5;",
                        "t:1: services.s.request_timeout: means nothing for handler \"daytime\"\n");
    assert_service_said("port = 1; handler = \"daytime\"; framing = \"netstring\"; error_reply = \"x\";", "");
    assert_service_said(
        "port = 1; handler = \"daytime\"; max_request = 5;",
        "t:1: services.s.max_request: means nothing for handler \"daytime\" without datagrams\n");
    assert_service_said("port = 1; handler = \"daytime\"; transport = [ \"udp\", \"tcp\" ]; max_request = 5; "
                        "max_reply_ratio = 9;",
                        "");
    assert_said("max_request = 5; services: { s: { port = 1; handler = \"daytime\"; }; };", "");
}

static void test_framing_that_cannot_carry_the_date_is_refused(void **state)
{
    static const char *const good[] = { "line",        "block",         "netstring",       "close",
                                        "length:u8",   "length:u32be",  "delimiter:\\\\0", "delimiter:\\r\\n",
                                        "delimiter:|", "content-length" },
                             *const bad[] = { "fixed:3",     "fixed:40",     "delimiter: ",
                                              "delimiter:7", "delimiter:, ", "delimiter:day" };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "port = 1; handler = \"daytime\"; framing = \"%s\";", good[i]);
        assert_service_said(text, "");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "port = 1; handler = \"daytime\";\nframing = \"%s\";", bad[i]);
        assert_service_said(text, "t:2: services.s.framing: cannot carry the date and the time of handler "
                                  "\"daytime\"\n");
    }
}

static void test_key_that_means_nothing_for_the_transport_is_refused(void **state)
{
    (void)state;
    assert_service_said("port = 1; handler = \"echo\"; path = \"/run/x\";",
                        "t:1: services.s.path: means nothing without transport unix or unixgram\n");
    assert_service_said(
        "transport = \"unix\"; path = \"/run/x\"; handler = \"echo\"; host = \"x\"; port = 5;",
        "t:1: services.s.host: means nothing without transport tcp or udp\n"
        "t:1: services.s.port: means nothing without transport tcp or udp\n");
    assert_service_said("transport = \"udp\"; port = 1; handler = \"echo\"; framing = \"line\"; backlog = 5;",
                        "t:1: services.s.framing: means nothing without transport tcp or unix\n"
                        "t:1: services.s.backlog: means nothing without transport tcp or unix\n");
    assert_service_said("port = 1; handler = \"echo\"; low_ports = true; max_datagrams_per_source = 5;",
                        "t:1: services.s.low_ports: means nothing without transport udp\n"
                        "t:1: services.s.max_datagrams_per_source: means nothing without transport udp\n");
    assert_service_said("transport = [ \"udp\", \"tcp\" ]; port = 1; handler = \"echo\"; framing = \"line\";"
                        "max_reply_ratio = 2;",
                        "");
}

static void test_key_that_means_nothing_may_be_a_default(void **state)
{
    (void)state;
    assert_said(
        "handler_timeout = 5; framing = \"netstring\"; max_reply_ratio = 3; mode = \"0600\"; max_reply = 1;"
        "services: { s: { port = 1; handler = \"discard\"; }; };",
        "");
}

static void test_service_needs_handler_port_and_path(void **state)
{
    (void)state;
    assert_service_said("\nhost = \"*\";", "t:1: services.s: needs a handler, such as handler = \"echo\"\n"
                                           "t:1: services.s: needs a port, such as port = 50000\n");
    assert_service_said("transport = [ \"udp\", \"unixgram\" ]; handler = \"echo\";",
                        "t:1: services.s: needs a port, such as port = 50000\n"
                        "t:1: services.s: needs a path, such as path = \"/run/name.sock\"\n");
    assert_said("handler = \"echo\"; services: { s: { port = 1; }; };", "");
}

static void test_value_that_was_wrong_is_not_called_missing(void **state)
{
    (void)state;
    assert_service_said("port = 0; handler = \"echo\";",
                        "t:1: services.s.port: 0 is no port; ports are 1 to 65535\n");
    assert_said("port = 0;\nservices: { s: { handler = \"echo\"; }; };",
                "t:1: port: 0 is no port; ports are 1 to 65535\n");
}

static void test_two_services_on_one_socket_are_refused_with_both_names(void **state)
{
    (void)state;
    assert_said("handler = \"echo\"; port = 7; services: {\n a: { host = \"*\"; };\n b: { host = "
                "\"\"; }; };",
                "t:3: service b wants tcp * port 7, as does service a (t:2)\n");
    assert_said("handler = \"echo\"; services: {\n a: { transport = \"unix\"; path = \"/x\"; };\n"
                " b: { transport = \"unixgram\"; path = \"/x\"; }; };",
                "t:3: service b wants /x, as does service a (t:2)\n");
    assert_service_said("handler = \"echo\"; port = 7; host = [ \"LOCALHOST\", \"localhost\" ];",
                        "t:1: service s has tcp LOCALHOST port 7 twice\n");
}

static void test_service_on_the_port_of_the_metrics_is_refused_with_both_lines(void **state)
{
    (void)state;
    assert_said("handler = \"echo\";\nmetrics = { port = 7; }; services: {\n a: { port = 7; }; };",
                "t:3: service a wants tcp localhost port 7, as does the exporter of the metrics (t:2)\n");
    assert_said(
        "handler = \"echo\"; metrics = { port = 7; };\nservices: { a: { port = 7; host = \"*\"; }; };",
        "t:2: service a wants tcp * port 7, which collides with host \"localhost\" of the exporter of the "
        "metrics (t:1)\n");
    assert_said(
        "metrics = { port = 7; host = [ \"*\", \"::1\" ]; };"
        "services: { a: { port = 8; handler = \"echo\"; }; };",
        "t:1: the exporter of the metrics wants tcp ::1 port 7, which collides with its host \"*\"\n");
    assert_said(
        "handler = \"echo\"; metrics = { port = 7; }; services: { a: { port = 7; enabled = false; };\n"
        "b: { port = 8; }; c: { port = 7; transport = \"udp\"; }; };",
        "");
}

static void test_one_address_and_every_address_of_its_family_exclude_each_other(void **state)
{
    static const struct {
        const char *a, *b, *said;
    } rows[] = {
        { "*", "127.0.0.1", "127.0.0.1 port 7, which collides with host \"*\"" },
        { "127.0.0.1", "*", "* port 7, which collides with host \"127.0.0.1\"" },
        { "localhost", "", "* port 7, which collides with host \"localhost\"" },
        { "", "::1", "::1 port 7, which collides with host \"*\"" },
        { "0.0.0.0", "127.0.0.1", "127.0.0.1 port 7, which collides with host \"0.0.0.0\"" },
        { "0.0.0.0", "::ffff:127.0.0.1", "::ffff:127.0.0.1 port 7, which collides with host \"0.0.0.0\"" },
        { "::", "*", "* port 7, which collides with host \"::\"" },
        { "::1", "0:0::1", "0:0::1 port 7, which collides with host \"::1\"" },
        { "0.0.0.0", "::", NULL },
        { "0.0.0.0", "::1", NULL },
        { "::", "127.0.0.1", NULL },
        { "::", "localhost", NULL },
        { "127.0.0.1", "127.0.0.2", NULL },
        { "127.0.0.1", "localhost", NULL },
    };
    char text[200], said[200];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int udp = 0; udp < 2; udp++) {
            snprintf(
                text, sizeof(text),
                "handler = \"echo\"; port = 7; transport = \"%s\"; services: {\n a: { host = \"%s\"; };\n"
                " b: { host = \"%s\"; }; };",
                udp ? "udp" : "tcp", rows[i].a, rows[i].b);
            snprintf(said, sizeof(said), "t:3: service b wants %s %s of service a (t:2)\n",
                     udp ? "udp" : "tcp", rows[i].said);
            assert_said(text, rows[i].said ? said : "");
        }
}

static void test_a_service_is_not_in_its_own_way(void **state)
{
    (void)state;
    assert_service_said("handler = \"echo\"; port = 7; host = [ \"*\", \"127.0.0.1\" ];",
                        "t:1: service s wants tcp 127.0.0.1 port 7, which collides with its host \"*\"\n");
    assert_service_said("handler = \"echo\"; port = 7; host = [ \"*\", \"::\", \"0.0.0.0\" ];", "");
    assert_service_said("handler = \"echo\"; port = 7; host = [ \"::1\", \"0:0::1\", \"localhost\" ];", "");
}

static void test_a_path_that_is_written_in_another_way_is_the_same(void **state)
{
    static const char *const same[] = { "/x//y", "//x/y", "/x/./y", "/././x/.//y" }, *const other[] = {
        "/x/.y", "/x/y.", "/x/y/", "@/x/y", "/xy", "/x/y/z"
    };
    char text[200], said[200];

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        snprintf(text, sizeof(text),
                 "handler = \"echo\"; transport = \"unix\"; services: {\n a: { path = \"/x/y\"; };\n"
                 " b: { path = \"%s\"; }; };",
                 same[i]);
        snprintf(said, sizeof(said), "t:3: service b wants %s, as does service a (t:2)\n", same[i]);
        assert_said(text, said);
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        snprintf(text, sizeof(text),
                 "handler = \"echo\"; transport = \"unix\"; services: {\n a: { path = \"/x/y\"; };\n"
                 " b: { path = \"%s\"; }; };",
                 other[i]);
        assert_said(text, "");
    }
}

static void test_services_that_differ_in_anything_are_fine(void **state)
{
    (void)state;
    assert_said(
        "handler = \"echo\"; port = 7; path = \"/x\"; services: { a: { }; b: { transport = \"udp\"; };"
        " c: { port = 8; }; d: { host = \"::1\"; }; e: { enabled = false; }; f: { transport = \"unix\"; }; "
        "};",
        "");
}

static void test_one_path_for_stream_and_datagrams_is_refused(void **state)
{
    (void)state;
    assert_service_said("transport = [ \"unix\", \"unixgram\" ]; path = \"/x\"; handler = \"echo\";",
                        "t:1: services.s.transport: unix and unixgram cannot share one path; make them two"
                        " services\n");
}

static void test_permissions_of_an_abstract_name_are_refused(void **state)
{
    (void)state;
    assert_service_said("transport = \"unix\"; path = \"@x\"; handler = \"echo\"; mode = \"0600\";",
                        "t:1: services.s.mode: means nothing for a name in the abstract name space\n");
}

static void test_group_must_exist(void **state)
{
    struct group *root = getgrgid(0);
    char keys[200];
    struct conf *conf;

    (void)state;
    assert_service_said("transport = \"unix\"; path = \"/x\"; handler = \"echo\"; group = \"no\\ngroup\";",
                        "t:1: services.s.group: there is no group \"no\\ngroup\"\n");
    if (!root)
        skip();
    snprintf(
        keys, sizeof(keys),
        "services: { s: { transport = \"unix\"; path = \"/x\"; handler = \"echo\"; group = \"%s\"; }; };",
        root->gr_name);
    conf = try_text(keys, NULL);
    assert_string_equal(conf->services[0].group, root->gr_name);
    assert_int_equal(conf->services[0].gid, 0);
    conf_unref(conf);
}

static void test_message_that_can_never_come_is_refused(void **state)
{
    (void)state;
    assert_service_said("port = 1; handler = \"echo\"; framing = \"fixed:2000\"; max_request = \"1k\";",
                        "t:1: services.s.framing: is longer than max_request; no request could ever come\n");
    assert_service_said(
        "port = 1; handler = \"echo\"; framing = \"close\"; max_requests_per_connection = 5;",
        "t:1: services.s.max_requests_per_connection: means nothing for framing \"close\", one request per"
        " connection\n");
    assert_said(
        "max_memory = \"1m\"; services: { s: { port = 1; handler = \"echo\"; max_request = \"2m\"; }; };",
        "warning: t:1: service s: max_request is larger than max_memory\n");
}

static void test_text_that_its_framing_cannot_carry_is_refused(void **state)
{
    (void)state;
    assert_service_said(
        "port = 1; handler = \"echo\"; error_reply = \"no\\n\";",
        "t:1: services.s.error_reply: cannot be sent, since it does not fit framing \"line\"; leave"
        " the end of the line out, the framing adds it\n");
    assert_service_said(
        "port = 1; handler = \"echo\"; framing = \"fixed:4\"; error_reply = \"no\";",
        "t:1: services.s.error_reply: cannot be sent, since it does not fit framing \"fixed:4\"\n");
    assert_service_said(
        "port = 1; handler = \"helper\"; command = \"cat\"; framing = \"netstring\";"
        "helper_framing = \"line\"; error_reply = \"no\\n\"; helper_probe = \"you\\n\";",
        "t:1: services.s.helper_probe: cannot be sent, since it does not fit framing \"line\"; leave"
        " the end of the line out, the framing adds it\n");
    assert_service_said("port = 1; handler = \"helper\"; command = \"cat\"; helper_protocol = \"json\";"
                        "helper_probe = \"you\\n\";",
                        "");
}

static void test_default_that_a_framing_cannot_carry_is_warned_of(void **state)
{
    (void)state;
    assert_said(
        "error_reply = \"no\\n\"; services: { s: { port = 1; handler = \"echo\"; };\n"
        "n: { port = 2; handler = \"echo\"; framing = \"netstring\"; };\n"
        "p: { port = 3; handler = \"program\"; command = \"cat\"; };\n"
        "u: { port = 3; handler = \"echo\"; transport = \"udp\"; }; };",
        "warning: t:1: services.s.error_reply: cannot be sent, since it does not fit framing \"line\"; leave"
        " the end of the line out, the framing adds it\n");
}

static void test_amplifier_is_warned_of(void **state)
{
    (void)state;
    assert_service_said(
        "transport = \"udp\"; port = 1; handler = \"echo\";\nmax_reply_ratio = 0;",
        "warning: t:2: services.s.max_reply_ratio: 0 lets anybody turn the service into an amplifier"
        " against others\n");
}

static void test_date_that_no_short_datagram_gets_is_warned_of(void **state)
{
    (void)state;
    assert_service_said(
        "transport = [ \"tcp\", \"udp\" ]; port = 1;\nhandler = \"daytime\";",
        "warning: t:1: services.s.max_reply_ratio: is 1, and only a datagram as long as the date is "
        "answered with it; with 48 any but an empty one is\n");
    assert_service_said("transport = \"udp\"; port = 1; handler = \"daytime\"; max_reply_ratio = 1;", "");
    assert_said(
        "max_reply_ratio = 48; services: { s: { transport = \"udp\"; port = 1; handler = \"daytime\"; }; };",
        "");
    assert_service_said("transport = \"unixgram\"; path = \"/x\"; handler = \"daytime\";", "");
    assert_service_said("transport = \"udp\"; port = 1; handler = \"echo\";", "");
}

static void test_nothing_to_serve_is_refused(void **state)
{
    (void)state;
    assert_said("", "t: no service is configured\n");
    assert_said("services: { };", "t: no service is configured\n");
    assert_said("workers = 1;", "t: no service is configured\n");
    assert_said("port = 1; services: { };", "t: no service is configured\n");
    assert_service_said("port = 1; handler = \"echo\"; enabled = false;", "t: no service is enabled\n");
}

static void test_file_of_a_service_that_is_taken_for_the_main_file_is_told(void **state)
{
    (void)state;
    assert_said("workers = 1; port = 1; handler = \"echo\";",
                "t: no service is configured; keys at top level are defaults: a service is a group within "
                "\"services\", "
                "or a file in the directory NAME.d, which is read with NAME.conf\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_that_means_nothing_for_the_handler_is_refused),
        cmocka_unit_test(test_framing_that_cannot_carry_the_date_is_refused),
        cmocka_unit_test(test_key_that_means_nothing_for_the_transport_is_refused),
        cmocka_unit_test(test_key_that_means_nothing_may_be_a_default),
        cmocka_unit_test(test_service_needs_handler_port_and_path),
        cmocka_unit_test(test_value_that_was_wrong_is_not_called_missing),
        cmocka_unit_test(test_two_services_on_one_socket_are_refused_with_both_names),
        cmocka_unit_test(test_service_on_the_port_of_the_metrics_is_refused_with_both_lines),
        cmocka_unit_test(test_one_address_and_every_address_of_its_family_exclude_each_other),
        cmocka_unit_test(test_a_service_is_not_in_its_own_way),
        cmocka_unit_test(test_a_path_that_is_written_in_another_way_is_the_same),
        cmocka_unit_test(test_services_that_differ_in_anything_are_fine),
        cmocka_unit_test(test_one_path_for_stream_and_datagrams_is_refused),
        cmocka_unit_test(test_permissions_of_an_abstract_name_are_refused),
        cmocka_unit_test(test_group_must_exist),
        cmocka_unit_test(test_message_that_can_never_come_is_refused),
        cmocka_unit_test(test_text_that_its_framing_cannot_carry_is_refused),
        cmocka_unit_test(test_default_that_a_framing_cannot_carry_is_warned_of),
        cmocka_unit_test(test_amplifier_is_warned_of),
        cmocka_unit_test(test_date_that_no_short_datagram_gets_is_warned_of),
        cmocka_unit_test(test_nothing_to_serve_is_refused),
        cmocka_unit_test(test_file_of_a_service_that_is_taken_for_the_main_file_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
