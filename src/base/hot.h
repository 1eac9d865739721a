/*
 * Functions that every request of a connection goes through stand together in memory, on two pages and not on
 * nine: between its calls the kernel takes the caches for itself.
 */
#ifndef SOCKD_BASE_HOT_H
#define SOCKD_BASE_HOT_H

#define HOT __attribute__((hot))

#endif
