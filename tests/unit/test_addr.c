/* base/addr.c: one canonical form whatever the kernel returned, networks as people write them, and sources.
 */
#include "test.h"

#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* As accept(2) would return it. */
static struct addr make(const char *ip, uint16_t port, uint32_t scope)
{
    struct sockaddr_storage sa = { 0 };
    struct sockaddr_in *sin = (struct sockaddr_in *)&sa;
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&sa;
    struct addr a;

    if (inet_pton(AF_INET, ip, &sin->sin_addr) == 1) {
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
    } else {
        memset(&sa, 0, sizeof(sa));
        assert_int_equal(inet_pton(AF_INET6, ip, &sin6->sin6_addr), 1);
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(port);
        sin6->sin6_scope_id = scope;
        sin6->sin6_flowinfo = htonl(0x12345);
    }
    addr_from_sockaddr(&a, &sa);
    return a;
}

static struct addr make_unix(uid_t uid, pid_t pid)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNIX };
    struct addr a;

    addr_from_sockaddr(&a, &sa);
    a.uid = uid;
    a.pid = pid;
    return a;
}

static const struct addr none = { .family = AF_UNSPEC };

static void test_addresses_are_printed_as_people_write_them(void **arg)
{
    static const struct {
        const char *ip;
        uint16_t port;
        uint32_t scope;
        const char *text, *host;
    } rows[] = {
        { "192.0.2.1", 80, 0, "192.0.2.1:80", "192.0.2.1" },
        { "255.255.255.255", 65535, 0, "255.255.255.255:65535", "255.255.255.255" },
        { "2001:db8::1", 80, 0, "[2001:db8::1]:80", "2001:db8::1" },
        { "fe80::1", 80, 2, "[fe80::1%2]:80", "fe80::1%2" },
        { "2001:db8::1", 80, 2, "[2001:db8::1]:80", "2001:db8::1" }, /* no zone but for link-local */
        { "::ffff:192.0.2.1", 80, 3, "192.0.2.1:80", "192.0.2.1" },
        { "fe80:1111:2222:3333:4444:5555:6666:7777", 65535, UINT32_MAX,
          "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535",
          "fe80:1111:2222:3333:4444:5555:6666:7777%4294967295" },
    };
    char text[ADDR_TEXT_MAX];

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr a = make(rows[i].ip, rows[i].port, rows[i].scope);

        assert_string_equal(addr_print(text, &a), rows[i].text);
        assert_string_equal(addr_print_host(text, &a), rows[i].host);
    }
}

static void test_what_has_no_ip_is_printed_too(void **arg)
{
    struct addr person = make_unix(1000, 77), stranger = make_unix((uid_t)-1, 0);
    char text[ADDR_TEXT_MAX];

    (void)arg;
    assert_string_equal(addr_print(text, &person), "uid 1000 pid 77");
    assert_string_equal(addr_print_host(text, &person), "uid 1000 pid 77");
    assert_string_equal(addr_print(text, &stranger), "unix");
    assert_string_equal(addr_print(text, &none), "-");
}

static void test_unix_peer_is_nobody_until_its_credentials_are_known(void **arg)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNIX };
    struct addr a;

    (void)arg;
    addr_from_sockaddr(&a, &sa);
    assert_int_equal(a.family, AF_UNIX);
    assert_int_equal(a.uid, (uid_t)-1);
    assert_int_equal(a.gid, (gid_t)-1);
}

/* FAULTS.md D15 */
static void test_mapped_address_is_ipv4_in_every_respect(void **arg)
{
    struct addr mapped = make("::ffff:192.0.2.1", 80, 0), plain = make("192.0.2.1", 80, 0);
    struct net n;

    (void)arg;
    assert_int_equal(mapped.family, AF_INET);
    assert_true(addr_equal(&mapped, &plain));
    assert_memory_equal(&mapped, &plain, sizeof(plain));
    assert_true(addr_source(&mapped) == addr_source(&plain));
    assert_int_equal(net_parse("192.0.2.0/24", &n), 0);
    assert_true(net_contains(&n, &mapped));
}

static void test_sockaddr_and_back_is_the_same(void **arg)
{
    const struct addr rows[] = { make("127.0.0.1", 1, 0), make("2001:db8::9", 65535, 0),
                                 make("fe80::1", 9, 4) };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sockaddr_storage sa;
        struct addr back;
        socklen_t len = addr_to_sockaddr(&rows[i], &sa);

        assert_int_equal(len,
                         sa.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        addr_from_sockaddr(&back, &sa);
        assert_true(addr_equal(&rows[i], &back));
    }
}

static void test_equal_means_all_that_tells_peers_apart(void **arg)
{
    const struct addr all[] = {
        make("192.0.2.1", 80, 0),
        make("192.0.2.2", 80, 0),
        make("192.0.2.1", 81, 0),
        make("fe80::1", 80, 1),
        make("fe80::1", 80, 2),
        make("fe80::2", 80, 1),
        make("fe80::1", 81, 1),
        make_unix(1000, 77),
        make_unix(1000, 78),
        make_unix(1001, 77),
        none,
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(all); i++)
        for (size_t j = 0; j < COUNT(all); j++)
            assert_int_equal(addr_equal(&all[i], &all[j]), i == j);
}

/* FAULTS.md F3 */
static void test_only_addresses_that_can_send_are_senders(void **arg)
{
    static const struct {
        const char *ip;
        uint16_t port;
        bool sender;
    } rows[] = {
        { "192.0.2.1", 80, true },        { "127.0.0.1", 1024, true },   { "192.0.2.1", 0, false },
        { "0.0.0.0", 80, false },         { "0.1.2.3", 80, false },      { "224.0.0.1", 80, false },
        { "239.255.255.255", 80, false }, { "240.0.0.1", 80, true },     { "255.255.255.255", 80, false },
        { "2001:db8::1", 80, true },      { "::1", 80, true },           { "::", 80, false },
        { "ff02::1", 80, false },         { "2001:db8::1", 0, false },   { "::ffff:224.0.0.1", 80, false },
        { "::ffff:0.0.0.0", 80, false },  { "223.255.255.1", 80, true }, { "fe80::1", 80, true },
    };
    struct addr person = make_unix(1000, 77);

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr a = make(rows[i].ip, rows[i].port, 0);

        assert_int_equal(addr_is_sender(&a), rows[i].sender);
    }
    assert_true(addr_is_sender(&person));
    assert_false(addr_is_sender(&none));
}

static void test_loopback_is_known(void **arg)
{
    static const char *const yes[] = { "127.0.0.1", "127.255.1.2", "::1", "::ffff:127.0.0.1" };
    static const char *const no[] = { "128.0.0.1", "126.0.0.1", "::2", "fe80::1", "::127.0.0.1" };
    struct addr person = make_unix(0, 1);

    (void)arg;
    for (size_t i = 0; i < COUNT(yes); i++) {
        struct addr a = make(yes[i], 1, 0);

        assert_true(addr_is_loopback(&a));
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        struct addr a = make(no[i], 1, 0);

        assert_false(addr_is_loopback(&a));
    }
    assert_false(addr_is_loopback(&person));
}

/* The numbers are those of another implementation, CPython's SipHash-1-3 with the key zero. */
static void test_source_before_init_is_siphash_with_key_zero(void **arg)
{
    const struct addr a = make("192.0.2.1", 80, 0), b = make("2001:db8:1:2::9", 80, 0),
                      c = make_unix(1000, 77), d = make("fe80::9", 80, 2);

    (void)arg;
    assert_true(addr_source(&a) == 0x243cad2b72f9775e);
    assert_true(addr_source(&b) == 0x0c9f1d35f9a30a98);
    assert_true(addr_source(&c) == 0xd216007df9aa8950);
    assert_true(addr_source(&d) == 0x649728c24f717782);
}

static void test_source_is_an_ipv4_address_an_ipv6_64_or_a_uid(void **arg)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.2", false },
        { "2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true },
        { "2001:db8:1:2::1", "2001:db8:1:3::1", false },
    };
    const struct addr person = make_unix(1000, 77), again = make_unix(1000, 78), other = make_unix(1001, 77);

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct addr a = make(rows[i].a, 1, 0), b = make(rows[i].b, 2, 0);

        assert_int_equal(addr_source(&a) == addr_source(&b), rows[i].same);
    }
    assert_true(addr_source(&person) == addr_source(&again));
    assert_false(addr_source(&person) == addr_source(&other));
    assert_true(addr_source(&none) != 0);
}

static void test_source_depends_on_the_secret(void **arg)
{
    const struct addr a = make("192.0.2.1", 80, 0);
    uint64_t before = addr_source(&a), first;

    (void)arg;
    addr_source_init();
    first = addr_source(&a);
    assert_true(first != before);
    assert_true(addr_source(&a) == first);
    addr_source_init();
    assert_true(addr_source(&a) != first);
}

static void test_networks_are_read_and_printed(void **arg)
{
    static const struct {
        const char *text, *printed;
    } rows[] = {
        { "192.0.2.0/24", "192.0.2.0/24" },
        { "192.0.2.1", "192.0.2.1" },
        { "192.0.2.1/32", "192.0.2.1" },
        { "0.0.0.0/0", "0.0.0.0/0" },
        { "128.0.0.0/1", "128.0.0.0/1" },
        { "2001:db8::/32", "2001:db8::/32" },
        { "2001:DB8:0::0/32", "2001:db8::/32" },
        { "::1", "::1" },
        { "::/0", "::/0" },
        { "::ffff:192.0.2.0/120", "192.0.2.0/24" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
        { "::ffff:0.0.0.0/96", "0.0.0.0/0" },
        { "1111:2222:3333:4444:5555:6666:255.255.255.255", "1111:2222:3333:4444:5555:6666:ffff:ffff" },
    };
    char text[ADDR_TEXT_MAX];

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct net n, again;

        assert_int_equal(net_parse(rows[i].text, &n), 0);
        assert_string_equal(net_print(text, &n), rows[i].printed);
        assert_int_equal(net_parse(text, &again), 0);
        assert_memory_equal(&again.base, &n.base, sizeof(n.base));
        assert_int_equal(again.bits, n.bits);
    }
}

static void test_what_is_no_network_is_refused(void **arg)
{
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        { "", -EINVAL },
        { "/", -EINVAL },
        { "/24", -EINVAL },
        { "192.0.2.0/", -ERANGE },
        { "192.0.2.0/33", -ERANGE },
        { "192.0.2.0/-1", -ERANGE },
        { "192.0.2.0/24/24", -ERANGE },
        { "192.0.2.0/24 ", -ERANGE },
        { "192.0.2.0/ 24", -ERANGE },
        { " 192.0.2.0/24", -EINVAL },
        { "192.0.2.0/+24", -ERANGE },
        { "192.0.2.0/255.255.255.0", -ERANGE },
        { "192.0.2.0/99999999999999999999", -ERANGE },
        { "192.0.2", -EINVAL },
        { "192.0.2.256", -EINVAL },
        { "192.0.2.1/24", -EDOM }, /* bits behind the prefix */
        { "192.0.2.128/24", -EDOM },
        { "10.0.0.0/6", -EDOM },
        { "2001:db8::1/32", -EDOM },
        { "2001:db8::/129", -ERANGE },
        { "fe80::1%2", -EINVAL },
        { "[::1]", -EINVAL },
        { "::ffff:192.0.2.0/24", -EDOM }, /* meant as IPv4, written as IPv6 */
        { "::ffff:0.0.0.0/90", -EDOM },
        { "::ffff:192.0.2.1/120", -EDOM },
        { "localhost", -EINVAL },
        { "*", -EINVAL },
        { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd", -EINVAL },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct net n = { .bits = 99 };

        assert_int_equal(net_parse(rows[i].text, &n), rows[i].error);
        assert_int_equal(n.bits, 99);
    }
}

static void test_network_contains_its_addresses_and_no_others(void **arg)
{
    static const struct {
        const char *net, *ip;
        bool inside;
    } rows[] = {
        { "192.0.2.0/24", "192.0.2.0", true },
        { "192.0.2.0/24", "192.0.2.255", true },
        { "192.0.2.0/24", "192.0.3.0", false },
        { "192.0.2.128/25", "192.0.2.127", false },
        { "192.0.2.128/25", "192.0.2.129", true },
        { "10.0.0.0/7", "11.2.3.4", true },
        { "10.0.0.0/7", "12.2.3.4", false },
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.2", false },
        { "0.0.0.0/0", "203.0.113.9", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "::/0", "192.0.2.1", false },
        { "::/0", "2001:db8::1", true },
        { "2001:db8::/33", "2001:db8:7fff::", true },
        { "2001:db8::/33", "2001:db8:8000::", false },
        { "::1", "::1", true },
        { "::1", "::2", false },
        { "127.0.0.0/8", "::ffff:127.9.9.9", true },
        { "fe80::/10", "fe80::1", true },
        { "::ffff:192.0.2.0/120", "192.0.2.7", true },
    };
    struct addr person = make_unix(0, 1);
    struct net n;

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr a = make(rows[i].ip, 80, 3);

        assert_int_equal(net_parse(rows[i].net, &n), 0);
        assert_int_equal(net_contains(&n, &a), rows[i].inside);
    }
    assert_false(net_contains(&n, &person));
    assert_false(net_contains(&n, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_before_init_is_siphash_with_key_zero), /* the first: no secret yet */
        cmocka_unit_test(test_addresses_are_printed_as_people_write_them),
        cmocka_unit_test(test_what_has_no_ip_is_printed_too),
        cmocka_unit_test(test_unix_peer_is_nobody_until_its_credentials_are_known),
        cmocka_unit_test(test_mapped_address_is_ipv4_in_every_respect),
        cmocka_unit_test(test_sockaddr_and_back_is_the_same),
        cmocka_unit_test(test_equal_means_all_that_tells_peers_apart),
        cmocka_unit_test(test_only_addresses_that_can_send_are_senders),
        cmocka_unit_test(test_loopback_is_known),
        cmocka_unit_test(test_source_is_an_ipv4_address_an_ipv6_64_or_a_uid),
        cmocka_unit_test(test_source_depends_on_the_secret),
        cmocka_unit_test(test_networks_are_read_and_printed),
        cmocka_unit_test(test_what_is_no_network_is_refused),
        cmocka_unit_test(test_network_contains_its_addresses_and_no_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
