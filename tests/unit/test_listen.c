/* listen.c: which sockets are kept, opened, closed, and whose files are removed. On loopback and in a
 * directory of its own. */
#include "conf_try.h"

#include "base/fd.h"
#include "listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct listeners listeners;
static struct complaints complaints;
static int free_port;

/* A port of 127.0.0.1 that nobody has right now. */
static int find_port(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    fd_close(&fd);
    return ntohs(sa.sin_port);
}

static int setup(void **arg)
{
    (void)arg;
    strcpy(dir, "/tmp/sockd-test-listen-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    free_port = find_port();
    listeners_init(&listeners);
    complaints_init(&complaints);
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    listeners_done(&listeners);
    complaints_done(&complaints);
    return rmdir(dir); /* fails when a file was left */
}

/* $port and $dir are filled in. */
static struct conf *load(const char *keys)
{
    char *text = NULL;
    FILE *out = open_text(&text);

    for (const char *c = keys; *c; c++) {
        if (strncmp(c, "$port", 5) == 0)
            c += fprintf(out, "%d", free_port) > 0 ? 4 : 0;
        else if (strncmp(c, "$dir", 4) == 0)
            c += fprintf(out, "%s", dir) > 0 ? 3 : 0;
        else
            fputc(*c, out);
    }
    assert_int_equal(fclose(out), 0);
    struct conf *conf = try_text(text, NULL);
    assert_non_null(conf);
    free(text);
    return conf;
}

static const char tcp[] = "services: { a: { host = \"127.0.0.1\"; port = $port; handler = \"echo\"; }; };";
static const char tcp_and_unix[] =
    "services: { a: { host = \"127.0.0.1\"; port = $port; handler = \"echo\"; };\n"
    "b: { transport = \"unix\"; path = \"$dir/s\"; mode = \"0600\"; handler = \"echo\"; }; };";

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void test_a_listener_that_stays_is_the_same_socket(void **arg)
{
    struct conf *one = load(tcp), *two = load(tcp_and_unix);
    struct listen_set first, second;

    (void)arg;
    assert_int_equal(listen_open(&listeners, one, NULL, &complaints, &first), 0);
    assert_int_equal(listen_open(&listeners, two, NULL, &complaints, &second), 0);
    assert_int_equal(second.len, 2);
    assert_ptr_equal(first.item[0], second.item[0]);
    assert_ptr_equal(second.service[1], &two->services[1]);
    listen_release(&first);
    assert_int_equal(first.len, 0);
    assert_int_equal(second.item[0]->refs, 1);
    assert_int_equal(option(second.item[0]->fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    listen_release(&second);
    assert_true(list_empty(&listeners.all));
    conf_unref(one);
    conf_unref(two);
}

static void test_a_failure_closes_what_is_new_and_keeps_what_was_there(void **arg)
{
    struct conf *one = load(tcp);
    struct conf *bad = load("services: { a: { host = \"127.0.0.1\"; port = $port; handler = \"echo\"; };\n"
                            "b: { transport = \"unix\"; path = \"$dir/s\"; handler = \"echo\"; };\n"
                            "c: { transport = \"unix\"; path = \"$dir/none/s\"; handler = \"echo\"; }; };");
    struct listen_set set, untouched = { .len = 77 };
    char path[96];

    (void)arg;
    assert_int_equal(listen_open(&listeners, one, NULL, &complaints, &set), 0);
    assert_int_equal(listen_open(&listeners, bad, NULL, &complaints, &untouched), -ENOENT);
    assert_int_equal(untouched.len, 77);
    assert_int_equal(complaints.n_fatal, 1);
    assert_non_null(strstr(complaints.first->text, "c: cannot listen on unix "));
    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(set.item[0]->refs, 1);
    listen_release(&set);
    conf_unref(one);
    conf_unref(bad);
}

static void test_mode_of_a_kept_listener_changes_only_when_it_is_applied(void **arg)
{
    struct conf *one = load(tcp_and_unix);
    struct conf *two = load("services: { b: { transport = \"unix\"; path = \"$dir/s\"; mode = \"0666\"; "
                            "handler = \"echo\"; }; };");
    struct listen_set first, second;
    struct stat st;
    char path[96];

    (void)arg;
    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(listen_open(&listeners, one, NULL, &complaints, &first), 0);
    assert_int_equal(listen_open(&listeners, two, NULL, &complaints, &second), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    listen_apply(&second, &complaints);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    listen_release(&first);
    listen_release(&second);
    conf_unref(one);
    conf_unref(two);
}

static void test_copies_have_descriptors_of_their_own_and_no_hold_on_the_files(void **arg)
{
    struct conf *conf = load(tcp_and_unix);
    struct listen_set set, copies;
    char path[96];

    (void)arg;
    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(listen_open(&listeners, conf, NULL, &complaints, &set), 0);
    assert_int_equal(listen_copy(&set, &copies), 0);
    assert_int_equal(copies.len, 2);
    assert_int_not_equal(copies.item[1]->fd, set.item[1]->fd);
    listen_release(&copies);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(option(set.item[1]->fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    listen_release(&set);
    conf_unref(conf);
}

static void test_sockets_are_made_as_workers_need_them(void **arg)
{
    struct conf *conf = load("services: { a: { transport = [ \"tcp\", \"udp\" ]; host = \"127.0.0.1\"; port "
                             "= $port; handler = \"echo\"; }; };");
    struct listen_set set;

    (void)arg;
    assert_int_equal(listen_open(&listeners, conf, NULL, &complaints, &set), 0);
    assert_int_equal(set.len, 2);
    for (size_t i = 0; i < set.len; i++) {
        int fd = set.item[i]->fd;
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        if (set.item[i]->transport == TRANSPORT_TCP) {
            assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
            assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 120);
        } else {
            assert_int_equal(option(fd, IPPROTO_IP, IP_PKTINFO), 1);
            assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 0);
        }
    }
    listen_release(&set);
    conf_unref(conf);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_listener_that_stays_is_the_same_socket),
        TEST(test_a_failure_closes_what_is_new_and_keeps_what_was_there),
        TEST(test_mode_of_a_kept_listener_changes_only_when_it_is_applied),
        TEST(test_copies_have_descriptors_of_their_own_and_no_hold_on_the_files),
        TEST(test_sockets_are_made_as_workers_need_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
