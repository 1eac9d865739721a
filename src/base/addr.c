/*
 * Addresses and networks as values; pure but for the secret of addr_source(), used by every process.
 *
 * Text goes through inet_pton(3) and inet_ntop(3) alone: nothing here asks a resolver, and an address that is
 * short of a number ("10.1") or has a zone in a network is refused rather than guessed.
 */
#include "base/addr.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };
static const uint8_t ip6_none[16], ip6_loopback[16] = { [15] = 1 };

/* The secret of addr_source(), all zero until addr_source_init(). */
static uint64_t source_key[2];

/* The length of the address in its first bytes. */
static size_t ip_len(const struct addr *a)
{
    return a->family == AF_INET ? 4 : 16;
}

/* Fills family and ip; ::ffff:a.b.c.d becomes IPv4. */
static void set_ip(struct addr *ret, int family, const void *ip)
{
    *ret = (struct addr){ .family = (uint16_t)family };
    memcpy(ret->ip, ip, ip_len(ret));
    if (family == AF_INET6 && memcmp(ret->ip, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        ret->family = AF_INET;
        memmove(ret->ip, ret->ip + 12, 4);
        memset(ret->ip + 4, 0, 12);
    }
}

void addr_from_sockaddr(struct addr *ret, const struct sockaddr_storage *sa)
{
    const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;

    switch (sa->ss_family) {
    case AF_INET:
        set_ip(ret, AF_INET, &sin->sin_addr);
        ret->port = ntohs(sin->sin_port);
        break;
    case AF_INET6:
        set_ip(ret, AF_INET6, &sin6->sin6_addr);
        ret->port = ntohs(sin6->sin6_port);
        if (IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&sin6->sin6_addr))
            ret->scope = sin6->sin6_scope_id;
        break;
    case AF_UNIX:
        *ret = (struct addr){ .family = AF_UNIX };
        ret->uid = (uid_t)-1; /* nobody known yet; 0 would be root */
        ret->gid = (gid_t)-1;
        break;
    default:
        *ret = (struct addr){ .family = AF_UNSPEC };
    }
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret)
{
    struct sockaddr_in *sin = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ret;

    assert(a->family == AF_INET || a->family == AF_INET6);
    memset(ret, 0, sizeof(*ret));
    ret->ss_family = a->family;
    if (a->family == AF_INET) {
        sin->sin_port = htons(a->port);
        memcpy(&sin->sin_addr, a->ip, 4);
        return sizeof(*sin);
    }
    sin6->sin6_port = htons(a->port);
    sin6->sin6_scope_id = a->scope;
    memcpy(&sin6->sin6_addr, a->ip, 16);
    return sizeof(*sin6);
}

char *addr_print_host(char buf[ADDR_TEXT_MAX], const struct addr *a)
{
    size_t len;

    switch (a->family) {
    case AF_INET:
    case AF_INET6:
        inet_ntop(a->family, a->ip, buf, ADDR_TEXT_MAX);
        len = strlen(buf);
        if (a->scope != 0)
            snprintf(buf + len, ADDR_TEXT_MAX - len, "%%%u", (unsigned)a->scope);
        break;
    case AF_UNIX:
        if (a->uid == (uid_t)-1)
            snprintf(buf, ADDR_TEXT_MAX, "unix");
        else
            snprintf(buf, ADDR_TEXT_MAX, "uid %u pid %d", (unsigned)a->uid, (int)a->pid);
        break;
    default:
        snprintf(buf, ADDR_TEXT_MAX, "-");
    }
    return buf;
}

char *addr_print(char buf[ADDR_TEXT_MAX], const struct addr *a)
{
    char host[ADDR_TEXT_MAX];

    addr_print_host(host, a);
    if (a->family == AF_INET6)
        snprintf(buf, ADDR_TEXT_MAX, "[%.64s]:%u", host, (unsigned)a->port);
    else if (a->family == AF_INET)
        snprintf(buf, ADDR_TEXT_MAX, "%.64s:%u", host, (unsigned)a->port);
    else
        memcpy(buf, host, sizeof(host));
    return buf;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    if (a->family != b->family)
        return false;
    if (a->family == AF_UNIX)
        return a->uid == b->uid && a->pid == b->pid;
    if (a->family == AF_UNSPEC)
        return true;
    return a->port == b->port && a->scope == b->scope && memcmp(a->ip, b->ip, ip_len(a)) == 0;
}

bool addr_is_sender(const struct addr *a)
{
    static const uint8_t broadcast[4] = { 255, 255, 255, 255 };

    if (a->family == AF_UNIX)
        return true;
    if (a->port == 0)
        return false;
    if (a->family == AF_INET)
        return a->ip[0] != 0 && (a->ip[0] & 0xf0) != 0xe0 && memcmp(a->ip, broadcast, 4) != 0;
    if (a->family == AF_INET6)
        return a->ip[0] != 0xff && memcmp(a->ip, ip6_none, 16) != 0;
    return false;
}

bool addr_is_loopback(const struct addr *a)
{
    if (a->family == AF_INET)
        return a->ip[0] == 127;
    return a->family == AF_INET6 && memcmp(a->ip, ip6_loopback, 16) == 0;
}

bool addr_is_any(const struct addr *a)
{
    static const uint8_t zero[16];

    return (a->family == AF_INET && memcmp(a->ip, zero, 4) == 0) ||
           (a->family == AF_INET6 && memcmp(a->ip, zero, 16) == 0);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_block(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/*
 * SipHash-1-3 of the 16 bytes whose two words, read as little-endian, are FIRST and SECOND; after "SipHash: a
 * fast short-input PRF", J.-P. Aumasson and D. J. Bernstein, 2012.
 */
static uint64_t siphash(uint64_t first, uint64_t second)
{
    struct sip s = {
        .v0 = source_key[0] ^ 0x736f6d6570736575,
        .v1 = source_key[1] ^ 0x646f72616e646f6d,
        .v2 = source_key[0] ^ 0x6c7967656e657261,
        .v3 = source_key[1] ^ 0x7465646279746573,
    };

    sip_block(&s, first);
    sip_block(&s, second);
    sip_block(&s, (uint64_t)16 << 56); /* the length, as the last byte of the last block */
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t addr_source(const struct addr *a)
{
    uint64_t who = 0, hash;

    if (a->family == AF_UNIX)
        memcpy(&who, &a->uid, sizeof(a->uid));
    else if (a->family == AF_INET)
        memcpy(&who, a->ip, 4);
    else if (a->family == AF_INET6)
        memcpy(&who, a->ip, 8);
    /* The zone belongs to it: fe80::/64 is another network on every interface. */
    hash = siphash(a->family | (uint64_t)a->scope << 32, le64toh(who));
    return hash != 0 ? hash : 1;
}

void addr_source_init(void)
{
    ssize_t n;

    do
        n = getrandom(source_key, sizeof(source_key), 0);
    while (n < 0 && errno == EINTR);
    assert(n == sizeof(source_key));
}

void addr_source_save(uint64_t ret_key[2])
{
    memcpy(ret_key, source_key, sizeof(source_key));
}

void addr_source_adopt(const uint64_t key[2])
{
    memcpy(source_key, key, sizeof(source_key));
}

/* The address in the first LEN bytes of TEXT; *RET_BITS is the length that its text had, 32 or 128. */
static int parse_ip(const char *text, size_t len, struct addr *ret, unsigned *ret_bits)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t ip[16];

    if (len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, ip) == 1) {
        set_ip(ret, AF_INET, ip);
        *ret_bits = 32;
        return 0;
    }
    if (inet_pton(AF_INET6, host, ip) != 1)
        return -EINVAL;
    set_ip(ret, AF_INET6, ip);
    *ret_bits = 128;
    return 0;
}

static bool has_bits_behind(const struct net *n)
{
    for (unsigned bit = n->bits; bit < 8 * ip_len(&n->base); bit++)
        if (n->base.ip[bit / 8] & (0x80 >> bit % 8))
            return true;
    return false;
}

int net_parse(const char *text, struct net *ret)
{
    size_t len = strcspn(text, "/");
    struct net n;
    unsigned text_bits;
    int64_t bits;

    if (parse_ip(text, len, &n.base, &text_bits) < 0)
        return -EINVAL;
    bits = text_bits;
    if (text[len] == '/' && text_parse_int(text + len + 1, 0, text_bits, &bits) < 0)
        return -ERANGE;
    if (text_bits == 128 && n.base.family == AF_INET)
        bits -= 96; /* written as IPv6: the prefix ::ffff:0:0/96 is gone */
    if (bits < 0)
        return -EDOM;
    n.bits = (uint8_t)bits;
    if (has_bits_behind(&n))
        return -EDOM;
    *ret = n;
    return 0;
}

char *net_print(char buf[ADDR_TEXT_MAX], const struct net *n)
{
    size_t len;

    addr_print_host(buf, &n->base);
    len = strlen(buf);
    if (n->bits < 8 * ip_len(&n->base))
        snprintf(buf + len, ADDR_TEXT_MAX - len, "/%u", (unsigned)n->bits);
    return buf;
}

bool net_contains(const struct net *n, const struct addr *a)
{
    size_t whole = n->bits / 8;
    uint8_t mask = (uint8_t)(0xff00 >> n->bits % 8);

    if (a->family != n->base.family || memcmp(a->ip, n->base.ip, whole) != 0)
        return false;
    return n->bits % 8 == 0 || ((a->ip[whole] ^ n->base.ip[whole]) & mask) == 0;
}
