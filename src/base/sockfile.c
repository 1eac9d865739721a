/* Binding, guarding and removing the files of Unix sockets. Used by the master alone. */
#include "base/sockfile.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int sockfile_address(const char *path, struct sockaddr_un *ret)
{
    size_t len = strlen(path);
    bool abstract = path[0] == '@';

    if (len == 0)
        return -EINVAL;
    /* A path needs its NUL; an abstract name is counted. */
    if (len + (abstract ? 0 : 1) > sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    memcpy(ret->sun_path, path, len);
    if (abstract)
        ret->sun_path[0] = '\0';
    return (int)(offsetof(struct sockaddr_un, sun_path) + len + (abstract ? 0 : 1));
}

static int bind_name(int fd, const char *path, mode_t mode)
{
    struct sockaddr_un sa;
    int len = sockfile_address(path, &sa);

    if (len < 0)
        return len;
    /* The file is born with MODE: a process that may not use it cannot do so in between. */
    mode_t old = umask((mode_t)~mode & 0777);
    int r = bind(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0 ? -errno : 0;
    umask(old);
    return r;
}

static int look(const char *path, struct stat *ret)
{
    if (lstat(path, ret) < 0)
        return -errno;
    return S_ISSOCK(ret->st_mode) ? 0 : -EEXIST;
}

static int identify(const char *path, struct sockfile_id *ret)
{
    struct stat st;

    int r = look(path, &st);
    if (r == 0)
        *ret = (struct sockfile_id){ .dev = st.st_dev, .ino = st.st_ino };
    return r;
}

bool sockfile_same(const struct sockfile_id *a, const struct sockfile_id *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

/* 0 when nobody holds the socket of this name; -EADDRINUSE when somebody does, or it cannot be known. */
static int check_dead(const char *path)
{
    struct sockaddr_un sa;
    int len = sockfile_address(path, &sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (len < 0 || fd < 0) {
        fd_close(&fd);
        return -EADDRINUSE;
    }
    /* A live socket of another type answers EPROTOTYPE, one with a full backlog EAGAIN. */
    bool dead = connect(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0 && errno == ECONNREFUSED;
    fd_close(&fd);
    return dead ? 0 : -EADDRINUSE;
}

/* The name of a file beside PATH that is not there yet. */
static int temporary_name(const char *path, char *ret, size_t size)
{
    const char *slash = strrchr(path, '/');
    int dir_len = slash ? (int)(slash + 1 - path) : 0;

    int n = snprintf(ret, size, "%.*s.s%d", dir_len, path, (int)getpid());
    return n >= (int)size ? -ENAMETOOLONG : 0;
}

/* Back to where it came from, unless a new one is there. */
static void put_back(const char *temporary, const char *path)
{
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
        unlink(temporary);
}

/*
 * The file at PATH is a dead socket's: it is moved away, and the name bound anew. Binding beside it and
 * moving over it would leave the socket with the wrong address for life, by which a restart could not know it
 * again.
 */
static int bind_over(int fd, const struct sockfile *file)
{
    struct sockfile_id before = { 0 }, now = { 0 };
    char temporary[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

    int r = identify(file->path, &before);
    if (r == 0)
        r = check_dead(file->path);
    if (r == 0)
        r = temporary_name(file->path, temporary, sizeof(temporary));
    if (r < 0)
        return r;
    if (rename(file->path, temporary) < 0)
        return -errno;
    r = identify(temporary, &now);
    if (r == 0 && !sockfile_same(&before, &now))
        r = -EADDRINUSE; /* somebody was quicker, and this is his */
    if (r == 0)
        r = bind_name(fd, file->path, 0);
    if (r < 0)
        put_back(temporary, file->path);
    else
        unlink(temporary);
    return r;
}

int sockfile_find(const char *path, struct sockfile_id *ret_id)
{
    struct sockfile_id id = { 0 };

    int r = path[0] == '@' ? 0 : identify(path, &id);
    if (r == 0)
        *ret_id = id;
    return r;
}

/* What is to be changed. */
static bool other_group(const struct sockfile *file, const struct stat *st)
{
    return file->gid != (gid_t)-1 && file->gid != st->st_gid;
}

static bool other_mode(const struct sockfile *file, const struct stat *st)
{
    return file->mode != (st->st_mode & 07777);
}

static int look_for(const struct sockfile *file, const struct sockfile_id *id, struct stat *ret)
{
    int r = look(file->path, ret);
    if (r == 0 && (ret->st_dev != id->dev || ret->st_ino != id->ino))
        r = -ESTALE;
    return r;
}

int sockfile_apply(const struct sockfile *file, const struct sockfile_id *id)
{
    struct stat st;

    int r = look_for(file, id, &st);
    if (r < 0)
        return r;
    if (other_group(file, &st) && lchown(file->path, (uid_t)-1, file->gid) < 0)
        return -errno;
    if (other_mode(file, &st) && fchmodat(AT_FDCWD, file->path, file->mode, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

static bool has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

bool sockfile_may_give(gid_t gid)
{
    return gid == getegid() || group_member(gid) || has_capability(CAP_CHOWN);
}

/* open(2), O_CREAT. */
gid_t sockfile_group_of_new(const char *path)
{
    const char *slash = strrchr(path, '/');
    char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 2];
    struct stat st;

    snprintf(directory, sizeof(directory), "%.*s.", slash ? (int)(slash + 1 - path) : 0, path);
    return stat(directory, &st) == 0 && (st.st_mode & S_ISGID) ? st.st_gid : getegid();
}

/* chown(2), chmod(2) and capabilities(7). */
int sockfile_check(const struct sockfile *file, const struct sockfile_id *id)
{
    struct stat st;

    int r = look_for(file, id, &st);
    if (r < 0)
        return r;
    bool owns = st.st_uid == geteuid();
    if (other_group(file, &st) && !(owns ? sockfile_may_give(file->gid) : has_capability(CAP_CHOWN)))
        return -EPERM;
    return other_mode(file, &st) && !owns && !has_capability(CAP_FOWNER) ? -EPERM : 0;
}

int sockfile_bind(const struct sockfile *file, struct sockfile_id *ret_id)
{
    struct sockfile_id id = { 0 };
    int fd = socket(AF_UNIX, file->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;

    bool abstract = file->path[0] == '@';
    int r = bind_name(fd, file->path, 0);
    if (r == -EADDRINUSE && !abstract)
        r = bind_over(fd, file);
    if (r == 0 && !abstract) {
        r = identify(file->path, &id);
        if (r == 0) {
            r = sockfile_apply(file, &id);
            if (r < 0)
                sockfile_remove(file->path, &id);
        }
    }
    if (r < 0) {
        fd_close(&fd);
        return r;
    }
    *ret_id = id;
    return fd;
}

void sockfile_remove(const char *path, const struct sockfile_id *id)
{
    struct sockfile_id now = { 0 };

    if (id->ino != 0 && identify(path, &now) == 0 && sockfile_same(&now, id))
        unlink(path);
}
