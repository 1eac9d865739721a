/*
 * The addresses that the hosts of a configuration stand for, each host looked up once.
 *
 * How long that takes is for name servers to say, and a silent one takes many seconds. At the start this is
 * waited for (names_look_up). Beside a generation that serves, a child does it (names_ask), so that the
 * master goes on. Runs in the master.
 */
#ifndef SOCKD_NAMES_H
#define SOCKD_NAMES_H

#include "base/addr.h"
#include "base/loop.h"
#include "conf.h"
#include "stats.h"

struct name {
    const char *host;   /* borrows, of the configuration */
    int error;          /* 0, or EAI_* of getaddrinfo(3) */
    int system_error;   /* errno, with EAI_SYSTEM */
    struct addr *addrs; /* owns; their port is 0 */
    size_t n_addrs;
};

struct names {
    struct name *item; /* owns */
    size_t len;
};

/* For all services of CONF that are enabled, and its metrics. Blocks. 0 or -ENOMEM; CONF must outlive *RET.
 */
int names_look_up(const struct conf *conf, struct names *ret);
/* NULL when the host is none of those. */
const struct name *names_find(const struct names *names, const char *host);
void names_done(struct names *names);

/* After so long, what was not found yet was not found (EAI_AGAIN). */
#define NAMES_WITHIN_MS 30000

struct names_question;
/* NAMES is the receiver's from then on; the question is over. */
typedef void names_fn(void *owner, struct names names);

/*
 * As names_look_up, without blocking: ON_ANSWER comes later, or, where all hosts are addresses, before this
 * returns, and then *RET is NULL. CONF must outlive the names. STATS: a child gives up what it could write
 * there. 0, or -errno, and then it does not come.
 */
int names_ask(struct loop *loop, const struct conf *conf, struct stats *stats, names_fn *on_answer,
              void *owner, struct names_question **ret);
/* Nobody wants the answer any more; NULL is fine. */
void names_forget(struct names_question *question);

#endif
