/* Two services, of which one may be the exporter, that want one place to listen. Pure; see conf_check.c for
 * who asks. */
#ifndef SOCKD_CONF_CLASH_H
#define SOCKD_CONF_CLASH_H

#include "conf.h"

/*
 * Where A and B, which may be the same, are sure to be in each other's way: true, and after "wants" in BUF
 * what B has of it, "tcp 127.0.0.1 port 7", and in *RET_HOST the host of A that stands for the same (borrowed
 * from A; NULL: it is written the same way). What a name stands for is not looked up, so false is no promise.
 */
bool conf_clash(const struct service *a, const struct service *b, char *buf, size_t size,
                const char **ret_host);

#endif
