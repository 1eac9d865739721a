/* Writing and sealing; see memfd.h. */
#include "base/memfd.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int copy_all(int to, int from, size_t len)
{
    while (len > 0) {
        ssize_t n = sendfile(to, from, NULL, len);
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        len -= (size_t)n;
    }
    return 0;
}

/* FD has all it is to have when R is 0. */
static int seal(int fd, int r)
{
    if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        r = -errno;
    if (r < 0)
        fd_close(&fd);
    return r < 0 ? r : fd;
}

int memfd_sealed(const char *name, const void *data, size_t len)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    return fd < 0 ? -errno : seal(fd, write_all(fd, data, len));
}

int memfd_copy(const char *name, int from, size_t len)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    return fd < 0 ? -errno : seal(fd, copy_all(fd, from, len));
}
