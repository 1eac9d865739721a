/* spawn_env.c: what a helper and a program find in their environment. */
#include "test.h"

#include "conf.h"
#include "spawn_env.h"

#include <stdlib.h>
#include <string.h>

static struct conf *conf;
static struct spawn_env env;

static const struct service *load(const char *keys)
{
    struct complaints complaints;
    char *text;

    assert_true(asprintf(&text, "services: { s: { command = \"/bin/cat\"; %s }; };", keys) > 0);
    complaints_init(&complaints);
    assert_int_equal(conf_load_text("t", text, strlen(text), &complaints, &conf), 0);
    complaints_done(&complaints);
    free(text);
    assert_int_equal(spawn_env_init(&env, &conf->services[0]), 0);
    return &conf->services[0];
}

static int unload(void **state)
{
    (void)state;
    spawn_env_done(&env);
    conf_unref(conf);
    conf = NULL;
    return 0;
}

/* NULL when it is not there; it must not be there twice. */
static const char *value(char **list, const char *name)
{
    const char *found = NULL;
    size_t len = strlen(name);

    for (; *list; list++) {
        if (strncmp(*list, name, len) != 0 || (*list)[len] != '=')
            continue;
        assert_null(found);
        found = *list + len + 1;
    }
    return found;
}

static const struct addr v4 = { .family = AF_INET, .port = 1234, .ip = { 192, 0, 2, 1 } };
static const struct addr v6 = { .family = AF_INET6, .port = 99, .ip = { 0x20, 1, 0xd, 0xb8, [15] = 1 } };

static void test_program_over_tcp_gets_addresses_as_numbers(void **state)
{
    char **list;

    (void)state;
    load("port = 7; handler = \"program\";");
    list = spawn_env_program(&env, &v4, &v4, 17);
    assert_string_equal(value(list, "PROTO"), "TCP");
    assert_string_equal(value(list, "TCPREMOTEIP"), "192.0.2.1");
    assert_string_equal(value(list, "TCPREMOTEPORT"), "1234");
    assert_string_equal(value(list, "TCPLOCALIP"), "192.0.2.1");
    assert_string_equal(value(list, "TCPCONNNUM"), "17");
    assert_string_equal(value(list, "REMOTE_ADDR"), "192.0.2.1");
    assert_string_equal(value(list, "REMOTE_HOST"), "192.0.2.1");
    assert_string_equal(value(list, "SOCKD_SERVICE"), "s");
    assert_null(value(list, "TCP6REMOTEIP"));
    assert_null(value(list, "SOCKD_FRAMING"));
    free(list);
}

static void test_program_over_ipv6_gets_both_kinds_of_names(void **state)
{
    char **list;

    (void)state;
    load("port = 7; handler = \"program\";");
    list = spawn_env_program(&env, &v6, &v6, 1);
    assert_string_equal(value(list, "PROTO"), "TCP6");
    assert_string_equal(value(list, "TCP6REMOTEIP"), "2001:db8::1");
    assert_string_equal(value(list, "TCPREMOTEIP"), "2001:db8::1");
    assert_string_equal(value(list, "TCP6LOCALPORT"), "99");
    free(list);
}

static void test_program_over_a_unix_socket_gets_credentials_if_there_are_any(void **state)
{
    struct addr peer = { .family = AF_UNIX, .pid = 5, .uid = 6, .gid = 7 };
    char **list;

    (void)state;
    load("handler = \"program\"; transport = \"unix\"; path = \"/run/s\";");
    list = spawn_env_program(&env, &peer, &peer, 1);
    assert_string_equal(value(list, "PROTO"), "UNIX");
    assert_string_equal(value(list, "UNIXLOCALPATH"), "/run/s");
    assert_string_equal(value(list, "UNIXREMOTEPID"), "5");
    assert_string_equal(value(list, "UNIXREMOTEEUID"), "6");
    assert_string_equal(value(list, "UNIXREMOTEEGID"), "7");
    assert_null(value(list, "REMOTE_ADDR"));
    free(list);
    peer.uid = (uid_t)-1;
    list = spawn_env_program(&env, &peer, &peer, 1);
    assert_null(value(list, "UNIXREMOTEEUID"));
    free(list);
}

static void test_of_the_daemons_own_only_a_few_pass(void **state)
{
    char **list;

    (void)state;
    setenv("PATH", "/some/bin", 1);
    setenv("TZ", "UTC", 1);
    setenv("LC_TIME", "C", 1);
    setenv("NOTIFY_SOCKET", "/run/x", 1);
    setenv("LD_PRELOAD_X", "x", 1);
    load("port = 7; handler = \"program\";");
    list = spawn_env_program(&env, &v4, &v4, 1);
    assert_string_equal(value(list, "PATH"), "/some/bin");
    assert_string_equal(value(list, "TZ"), "UTC");
    assert_string_equal(value(list, "LC_TIME"), "C");
    assert_null(value(list, "NOTIFY_SOCKET"));
    assert_null(value(list, "LD_PRELOAD_X"));
    assert_null(value(list, "HOME"));
    free(list);
}

static void test_the_configuration_wins(void **state)
{
    char **list;

    (void)state;
    setenv("OWN", "mine", 1);
    unsetenv("NONE");
    load("port = 7; handler = \"program\"; environment = [ \"OWN\", \"NONE\", \"PATH=/x\", "
         "\"TCPREMOTEIP=y\", \"A=\" "
         "];");
    list = spawn_env_program(&env, &v4, &v4, 1);
    assert_string_equal(value(list, "OWN"), "mine");
    assert_null(value(list, "NONE"));
    assert_string_equal(value(list, "PATH"), "/x");
    assert_string_equal(value(list, "TCPREMOTEIP"), "y");
    assert_string_equal(value(list, "A"), "");
    free(list);
}

static void test_helper_gets_its_framing_and_no_address(void **state)
{
    char **list;

    (void)state;
    load("port = 7; handler = \"helper\"; framing = \"close\";");
    list = spawn_env_helper(&env);
    assert_string_equal(value(list, "SOCKD_FRAMING"), "netstring");
    assert_string_equal(value(list, "PYTHONUNBUFFERED"), "1");
    assert_null(value(list, "PROTO"));
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_program_over_tcp_gets_addresses_as_numbers, unload),
        cmocka_unit_test_teardown(test_program_over_ipv6_gets_both_kinds_of_names, unload),
        cmocka_unit_test_teardown(test_program_over_a_unix_socket_gets_credentials_if_there_are_any, unload),
        cmocka_unit_test_teardown(test_of_the_daemons_own_only_a_few_pass, unload),
        cmocka_unit_test_teardown(test_the_configuration_wins, unload),
        cmocka_unit_test_teardown(test_helper_gets_its_framing_and_no_address, unload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
