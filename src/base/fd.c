/*
 * Descriptors and the limit on them; used by every process. Nothing here logs, and nothing here blocks, but
 * for the disk below a regular file.
 */
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_fill_standard(void)
{
    for (int want = 0; want <= 2; want++) {
        int fd;

        if (fcntl(want, F_GETFD) >= 0)
            continue;
        fd = open("/dev/null", O_RDWR);
        if (fd < 0)
            return -errno;
        assert(fd == want); /* the lowest free one, and those below are taken */
    }
    return 0;
}

void fd_close(int *fd)
{
    int saved_errno = errno;

    if (*fd >= 0)
        close(*fd); /* not again after EINTR: on Linux the number is free already */
    *fd = -1;
    errno = saved_errno;
}

int fd_set_nonblock(int fd, int on)
{
    int old = fcntl(fd, F_GETFL);
    int flags;

    if (old < 0)
        return -errno;
    flags = on ? old | O_NONBLOCK : old & ~O_NONBLOCK;
    if (flags != old && fcntl(fd, F_SETFL, flags) < 0)
        return -errno;
    return 0;
}

int fd_channel(int ret_fds[2])
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

/* Closes FIRST to LAST. Where a container's filter forbids close_range(2), one by one up to the limit. */
static void close_span(unsigned first, unsigned last)
{
    long end;

    if (first > last || close_range(first, last, 0) == 0)
        return;
    end = sysconf(_SC_OPEN_MAX);
    for (long fd = first; fd <= (long)last && fd < end; fd++)
        close((int)fd);
}

static int compare_fds(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;

    return (left > right) - (left < right);
}

void fd_close_others(int *keep, size_t n)
{
    unsigned first = 3;

    if (n > 0)
        qsort(keep, n, sizeof(*keep), compare_fds);
    for (size_t i = 0; i < n; i++) {
        if (keep[i] < (int)first)
            continue;
        close_span(first, (unsigned)keep[i] - 1);
        first = (unsigned)keep[i] + 1;
    }
    close_span(first, UINT_MAX);
}

bool fd_is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads to the end of FD. The size is a hint: the file may grow meanwhile, and those of /proc say 0. */
static int read_all(int fd, size_t size_hint, size_t limit, char **ret_text, size_t *ret_len)
{
    size_t cap = size_hint + 2; /* one more shows the end of the file, one is for the NUL */
    size_t len = 0;
    char *text = malloc(cap);

    while (text) {
        ssize_t n = read(fd, text + len, cap - len - 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || len + (size_t)n > limit) {
            int r = n < 0 ? -errno : -EFBIG;

            free(text);
            return r;
        }
        len += (size_t)n;
        text[len] = '\0';
        if (n == 0) {
            *ret_text = text;
            *ret_len = len;
            return 0;
        }
        if (len == cap - 1) {
            char *more = realloc(text, cap * 2);

            if (!more)
                free(text);
            text = more;
            cap *= 2;
        }
    }
    return -ENOMEM;
}

int fd_read_file(const char *path, size_t limit, char **ret_text, size_t *ret_len, struct stat *ret_stat)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    int r;

    assert(limit < SSIZE_MAX);
    if (fd < 0)
        return errno == ENXIO ? -EINVAL : -errno; /* a socket, or a device without a driver */
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = -EINVAL;
    else if ((uint64_t)st.st_size > limit)
        r = -EFBIG;
    else
        r = read_all(fd, (size_t)st.st_size, limit, ret_text, ret_len);
    if (r == 0 && ret_stat)
        *ret_stat = st;
    fd_close(&fd);
    return r;
}

size_t fd_raise_limit(size_t *ret_old)
{
    struct rlimit limit;
    rlim_t old;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = limit.rlim_max = 1024; /* cannot happen */
    old = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (old < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = old;
    if (ret_old)
        *ret_old = (size_t)old;
    return (size_t)limit.rlim_cur;
}
