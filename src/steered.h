/*
 * What an administrator does to the services and connections of one worker: drains a service, renews its
 * helpers, lists connections, ends them. Runs in a worker; it knows connections and services, but not the
 * worker.
 */
#ifndef SOCKD_STEERED_H
#define SOCKD_STEERED_H

#include "served.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Connections of the services that leave end if they have nothing in hand. Those that stay, since they are
 * young, are served or have not taken their last reply, are asked again every half second.
 */
void steered_leave(struct work *work);

/* The service of this index in the configuration closes politely what comes; or serves again. */
void steered_drain(struct work *work, uint32_t index, bool drained);

/* The service of this index gets new helpers, one after another. */
void steered_roll(const struct work *work, uint32_t index);

/* Answers question VALUE with all connections. */
void steered_list(struct work *work, int channel_fd, uint32_t value);

/* Ends the connection of this number, if there is one. */
void steered_kill(struct work *work, uint32_t number);

/* Ends all connections: the time to finish is over. */
void steered_end(struct work *work);

#endif
