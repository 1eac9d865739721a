/*
 * The handler "helper": requests are answered by a pool of long-lived processes, over pipes.
 *
 * A request waits in the pool's queue until a helper has room, is then a job in that helper's line, and ends
 * with the helper's reply, which must come in the order of the line. A helper whose bytes cannot be trusted
 * any more (late, malformed, too long, unasked) is killed, and nothing that it wrote is read again: no reply
 * ever reaches another client. Runs in a worker; the processes themselves belong to the spawner.
 *
 *          asked             its pipes come         answered the probe, lived 200 ms, or replied
 *   ABSENT ------> STARTING ----------------> PROVING ------------------------------------> UP
 *     ^                | cannot be executed      | dies, or too late                        | recycled,
 *     |                |                         |                                          | killed, dies
 *     '---- a pause ---+-------------------------+------------------- DYING <---------------'
 */
#ifndef SOCKD_HANDLER_HELPER_H
#define SOCKD_HANDLER_HELPER_H

#include "handler/handler.h"

extern const struct handler helper_handler;

#endif
