/*
 * The environment of helpers and programs, built new: nothing of the daemon's own but PATH, LANG, LC_*, TZ
 * and what `environment` names. Only numbers and addresses of a connection, never a name that a stranger
 * chose. Runs in the spawner.
 */
#ifndef SOCKD_SPAWN_ENV_H
#define SOCKD_SPAWN_ENV_H

#include "base/addr.h"
#include "conf.h"

struct spawn_env {
    const struct service *service; /* borrows */
    char **common;                 /* owns; what does not depend on a connection */
    size_t len;
};

/* 0 or -ENOMEM. */
int spawn_env_init(struct spawn_env *env, const struct service *service);
void spawn_env_done(struct spawn_env *env);

/* NULL-terminated, in one piece of new memory, for free(); NULL without memory. ENV must outlive it. */
char **spawn_env_helper(const struct spawn_env *env);
char **spawn_env_program(const struct spawn_env *env, const struct addr *peer, const struct addr *local,
                         uint32_t number);

#endif
