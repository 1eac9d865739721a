/*
 * Where the control socket is. A directory in /tmp is believed only when it is ours and closed to others,
 * since anybody may have made it; those in /run are made by the system or by root.
 */
#include "control_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_DIRECTORY "/run/sockd"

/* DIRECTORY and SUFFIX; of a list with colons (systemd makes one for several directories) the first is taken.
 */
static int join(char *ret, size_t size, const char *directory, const char *suffix)
{
    size_t len = strcspn(directory, ":");

    if (size > CONTROL_PATH_MAX)
        size = CONTROL_PATH_MAX;
    if ((size_t)snprintf(ret, size, "%.*s%s", (int)len, directory, suffix) >= size)
        return -ENAMETOOLONG;
    return 0;
}

/* An absolute path from the environment, or NULL. */
static const char *directory_of_env(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] == '/' ? value : NULL;
}

/* 0 when PATH is a directory of this user that no other can write. */
static int check_ours(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return -EPERM;
    return 0;
}

static int make_directory(const char *path, mode_t mode)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}

/* The directory in /tmp of this user. */
static int tmp_directory(char *ret, size_t size)
{
    return (size_t)snprintf(ret, size, "/tmp/sockd-%u", (unsigned)geteuid()) < size ? 0 : -ENAMETOOLONG;
}

/* Makes the directory that a daemon not started by systemd uses, and gives its name. */
static int own_directory(char *ret, size_t size)
{
    const char *runtime = directory_of_env("XDG_RUNTIME_DIR");
    int r;

    if (geteuid() == 0) {
        r = join(ret, size, SYSTEM_DIRECTORY, "");
        return r < 0 ? r : make_directory(ret, 0755);
    }
    if (runtime) {
        r = join(ret, size, runtime, "/sockd");
        if (r < 0)
            return r;
        if (make_directory(ret, 0700) == 0 && check_ours(ret) == 0)
            return 0;
    }
    r = tmp_directory(ret, size);
    if (r < 0)
        return r;
    r = make_directory(ret, 0700);
    return r < 0 ? r : check_ours(ret);
}

int control_path_own(char *ret, size_t size)
{
    char directory[CONTROL_PATH_MAX];
    const char *given = directory_of_env("RUNTIME_DIRECTORY");
    int r;

    if (given)
        return join(ret, size, given, "/control.sock");
    r = own_directory(directory, sizeof(directory));
    return r < 0 ? r : join(ret, size, directory, "/control.sock");
}

static int find_given(char *ret, size_t size)
{
    const char *given = directory_of_env("RUNTIME_DIRECTORY");

    return given ? join(ret, size, given, "/control.sock") : -ESRCH;
}

static int find_xdg(char *ret, size_t size)
{
    const char *runtime = directory_of_env("XDG_RUNTIME_DIR");

    if (!runtime || geteuid() == 0)
        return -ESRCH;
    return join(ret, size, runtime, "/sockd/control.sock");
}

static int find_tmp(char *ret, size_t size)
{
    char directory[CONTROL_PATH_MAX];

    if (geteuid() == 0 || tmp_directory(directory, sizeof(directory)) < 0 || check_ours(directory) < 0)
        return -ESRCH;
    return join(ret, size, directory, "/control.sock");
}

static int find_system(char *ret, size_t size)
{
    return join(ret, size, SYSTEM_DIRECTORY, "/control.sock");
}

int control_path_find(unsigned place, char *ret, size_t size)
{
    static int (*const places[])(char *, size_t) = { find_given, find_xdg, find_tmp, find_system };

    if (place >= sizeof(places) / sizeof(places[0]))
        return -ENOENT;
    return places[place](ret, size);
}

int control_path_instance(const char *name, char *ret, size_t size)
{
    char directory[CONTROL_PATH_MAX];

    if (!name[0] || name[0] == '.' || strpbrk(name, "/:"))
        return -EINVAL;
    if ((size_t)snprintf(directory, sizeof(directory), "/run/sockd-%s", name) >= sizeof(directory))
        return -ENAMETOOLONG;
    return join(ret, size, directory, "/control.sock");
}
