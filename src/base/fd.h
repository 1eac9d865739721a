/* Descriptors: all close-on-exec, -1 while there is none. Functions return 0 or -errno where they can fail,
 * and never log. */
#ifndef SOCKD_BASE_FD_H
#define SOCKD_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Opens /dev/null on each of 0, 1 and 2 that is closed, so that no socket ever lands there. */
int fd_fill_standard(void);

/* Closes *FD if there is one and sets it to -1; errno is kept. */
void fd_close(int *fd);

int fd_set_nonblock(int fd, int on);

/* A connected pair of non-blocking SOCK_SEQPACKET sockets. */
int fd_channel(int ret_fds[2]);

/* Closes every descriptor from 3 up but the N in KEEP, which is sorted in place; -1 entries are ignored. */
void fd_close_others(int *keep, size_t n);

/* The same file, and not written between the two looks. */
bool fd_is_same_file(const struct stat *a, const struct stat *b);

/*
 * Reads a regular file of at most LIMIT bytes into a new NUL-terminated string; the caller frees it. Follows
 * symbolic links and never blocks on what lies there. -EFBIG when larger, -EINVAL when not a regular file,
 * else -errno. *RET_STAT, if wanted, gets whose it is and who may write it.
 */
int fd_read_file(const char *path, size_t limit, char **ret_text, size_t *ret_len, struct stat *ret_stat);

/* Raises the soft limit of descriptors to the hard one; returns the soft limit now. *RET_OLD, if wanted, gets
 * what it was. */
size_t fd_raise_limit(size_t *ret_old);

#endif
