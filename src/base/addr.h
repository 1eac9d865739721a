/*
 * An address of a peer or of ourselves, small enough to be carried as a value, in one canonical form: an IPv4
 * address mapped into IPv6 (::ffff:a.b.c.d) is IPv4. Pure; no name is ever looked up here.
 */
#ifndef SOCKD_BASE_ADDR_H
#define SOCKD_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct addr {
    uint16_t family; /* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC: none */
    uint16_t port;   /* host byte order */
    uint32_t scope;  /* the zone of a link-local IPv6 address, else 0 */
    union {
        uint8_t ip[16]; /* IPv4 in the first four */
        struct {
            pid_t pid;
            uid_t uid;
            gid_t gid;
        };
    };
};

/* The longest text of addr_print with its NUL. */
#define ADDR_TEXT_MAX 80

/* From what accept(2) and its kin return; a Unix peer's credentials are filled in by the caller, until then
 * uid and gid are -1. */
void addr_from_sockaddr(struct addr *ret, const struct sockaddr_storage *sa);
/* The length of *RET. For AF_INET and AF_INET6 only. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret);

/* "192.0.2.1:80", "[2001:db8::1]:80", "[fe80::1%2]:80", "uid 1000 pid 77", "unix" for uid -1, "-" for none.
 * Returns BUF. */
char *addr_print(char buf[ADDR_TEXT_MAX], const struct addr *a);
/* The address alone, without brackets and port. Returns BUF. */
char *addr_print_host(char buf[ADDR_TEXT_MAX], const struct addr *a);

bool addr_equal(const struct addr *a, const struct addr *b);
/* False for an address that no honest sender has: multicast, broadcast, unspecified (0.0.0.0/8, ::), port 0.
 */
bool addr_is_sender(const struct addr *a);
/* 127.0.0.0/8 and ::1; false for AF_UNIX. */
bool addr_is_loopback(const struct addr *a);
/* 0.0.0.0 or ::, which stands for every address. */
bool addr_is_any(const struct addr *a);

/*
 * The source that limits count by: an IPv4 address, an IPv6 /64, a Unix uid, as a number that a stranger
 * cannot aim (keyed with a secret of this process tree, set once before the first fork). Never 0.
 */
uint64_t addr_source(const struct addr *a);
void addr_source_init(void);
/* The secret itself, for a program that goes on where this one ends. */
void addr_source_save(uint64_t ret_key[2]);
void addr_source_adopt(const uint64_t key[2]);

/* A network: an address and the number of its leading bits that count. */
struct net {
    struct addr base;
    uint8_t bits;
};

/*
 * "192.0.2.0/24", "2001:db8::/32", or one address; ::ffff:192.0.2.0/120 is 192.0.2.0/24. 0; -EINVAL: it
 * begins with no address; -ERANGE: the prefix is none; -EDOM: bits are set behind it, which is most often a
 * slip.
 */
int net_parse(const char *text, struct net *ret);
/* Returns BUF. */
char *net_print(char buf[ADDR_TEXT_MAX], const struct net *n);
bool net_contains(const struct net *n, const struct addr *a);

#endif
