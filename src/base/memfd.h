/* Text handed to another process as a file in memory that nobody can change any more. See memfd_create(2). */
#ifndef SOCKD_BASE_MEMFD_H
#define SOCKD_BASE_MEMFD_H

#include <stddef.h>

/* A new sealed descriptor, close-on-exec, with the LEN bytes of DATA; NAME is for /proc. Or -errno. */
int memfd_sealed(const char *name, const void *data, size_t len);
/* The same of the LEN bytes that the file FROM has from its place on; -EIO when it ends before. */
int memfd_copy(const char *name, int from, size_t len);

#endif
