/* The file and the backlog of the control socket; see control_socket.h. */
#include "control_socket.h"

#include "base/fd.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>

#define GROUP   "sockd"
#define BACKLOG 1024

int control_socket_open(const char *path, struct sockfile_id *ret_id)
{
    const struct group *group = getgrnam(GROUP);
    struct sockfile file = {
        .path = path,
        .type = SOCK_STREAM,
        .mode = 0660,
        .gid = group ? group->gr_gid : (gid_t)-1,
    };
    struct sockfile_id id;

    int fd = sockfile_bind(&file, &id);
    if (fd == -EPERM && group) {
        file.gid = (gid_t)-1;
        fd = sockfile_bind(&file, &id);
    }
    if (fd < 0)
        return fd;
    if (listen(fd, BACKLOG) < 0) {
        int r = -errno;
        sockfile_remove(path, &id);
        fd_close(&fd);
        return r;
    }
    *ret_id = id;
    return fd;
}

bool control_socket_is_gone(const char *path, const struct sockfile_id *id)
{
    struct sockfile_id now;

    return sockfile_find(path, &now) < 0 || !sockfile_same(&now, id);
}
