/* What must hold between the keys of a service, and between services. Each break is a complaint. */
#ifndef SOCKD_CONF_CHECK_H
#define SOCKD_CONF_CHECK_H

#include "conf.h"
#include "conf_node.h"

/*
 * One service, written at PLACE in the group OWN; TOP is the main file, whose keys are defaults, or NULL when
 * it could not be read. Looks up its group.
 */
void conf_check_service(struct service *service, const struct place *place, const struct conf_node *own,
                        const struct conf_node *top, struct complaints *complaints);

/* All services side by side, and the daemon's own keys. TOP is as above. */
void conf_check_all(const struct conf *conf, const struct conf_node *top, struct complaints *complaints);

/*
 * How a plug-in is tried, where that can be done: 0, or -errno and WHY. NULL, as it is at first: it is only
 * looked for.
 */
extern int (*conf_check_plugin)(const char *path, char *why, size_t size);

/* A name that a service may have. */
bool conf_check_name(const char *name);

#endif
