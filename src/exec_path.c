/* Finding a command; see exec_path.h. */
#include "exec_path.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the kernel reads of a file to see how to execute it, and a NUL. */
#define HEAD_MAX (256 + 1)

void exec_paths_free(char **paths)
{
    for (size_t i = 0; paths && paths[i]; i++)
        free(paths[i]);
    free(paths);
}

static char *join(const char *directory, size_t len, const char *name)
{
    char *path = NULL;

    /* An empty entry of PATH is the working directory. */
    if (asprintf(&path, "%.*s/%s", len ? (int)len : 1, len ? directory : ".", name) < 0)
        return NULL;
    return path;
}

static char **search(const char *list, const char *command)
{
    size_t n = 1, len;

    for (const char *p = list; *p; p++)
        n += *p == ':';
    char **paths = calloc(n + 1, sizeof(*paths));
    for (size_t i = 0; paths && i < n; i++, list += len + 1) {
        len = strcspn(list, ":");
        paths[i] = join(list, len, command);
        if (!paths[i]) {
            exec_paths_free(paths);
            return NULL;
        }
    }
    return paths;
}

char **exec_paths(const char *command)
{
    const char *list = getenv("PATH");

    if (!strchr(command, '/'))
        return search(list && *list ? list : EXEC_PATH_DEFAULT, command);
    char **paths = calloc(2, sizeof(*paths));
    if (paths && !(paths[0] = strdup(command))) {
        free(paths);
        return NULL;
    }
    return paths;
}

/* 0 or -errno. */
static int check_file(int at, const char *path)
{
    struct stat st;

    if (fstatat(at, path, &st, 0) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EACCES;
    return faccessat(at, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int say(char why[EXEC_WHY_MAX], const char *path, int r)
{
    char safe[EXEC_WHY_MAX / 2];

    text_escape(safe, sizeof(safe), path, strlen(path));
    snprintf(why, EXEC_WHY_MAX, "%s: %s", safe, strerror(-r));
    return r;
}

/* The beginning of a file as a text, which execve(2) goes by: its length, or -errno. */
static ssize_t read_head(int at, const char *path, char head[HEAD_MAX])
{
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd < 0 ? -errno : pread(fd, head, HEAD_MAX - 1, 0);

    if (fd >= 0)
        close(fd);
    if (n >= 0)
        head[n] = '\0';
    return n;
}

/* The interpreter that the first line of HEAD names; NULL when it is no script. */
static char *find_interpreter(char *head)
{
    if (strncmp(head, "#!", 2) != 0)
        return NULL;
    head[strcspn(head, "\n")] = '\0';
    char *name = head + 2 + strspn(head + 2, " \t");
    name[strcspn(name, " \t")] = '\0'; /* a CR is part of the name, as it is for the kernel */
    return *name ? name : NULL;
}

static int check_interpreter(int at, const char *safe, const char *interpreter, char why[EXEC_WHY_MAX])
{
    char text[EXEC_WHY_MAX / 2 + 40];
    int r = check_file(at, interpreter);

    if (r == 0)
        return 0;
    if (interpreter[strlen(interpreter) - 1] == '\r') {
        snprintf(why, EXEC_WHY_MAX, "%s: its first line ends in CR LF; save it with Unix line ends", safe);
        return r;
    }
    snprintf(text, sizeof(text), "%s: its interpreter %.100s", safe, interpreter);
    return say(why, text, r);
}

static int check_path(int at, const char *path, char why[EXEC_WHY_MAX])
{
    char head[HEAD_MAX], safe[EXEC_WHY_MAX / 4];
    int r = check_file(at, path);

    if (r < 0)
        return say(why, path, r);
    ssize_t n = read_head(at, path, head);
    if (n < 0)
        return 0; /* who may execute it need not be allowed to read it */
    text_escape(safe, sizeof(safe), path, strlen(path));
    if (n == 0) {
        snprintf(why, EXEC_WHY_MAX, "%s: is empty", safe);
        return -ENOEXEC;
    }
    if (n >= 4 && memcmp(head, "\177ELF", 4) == 0)
        return 0;
    const char *interpreter = find_interpreter(head);
    if (interpreter)
        return check_interpreter(at, safe, interpreter, why);
    snprintf(why, EXEC_WHY_MAX,
             "%s: is neither a program nor a script, which begins with #!; only where binfmt_misc knows it "
             "can it be executed",
             safe);
    return 1;
}

/* The first file that can be executed counts, as for a shell; else the first that is there at all. One that
 * the kernel does not know how to execute ends the search. */
static int check_search(const char *command, char why[EXEC_WHY_MAX])
{
    char **paths = exec_paths(command), other[EXEC_WHY_MAX];
    int r = paths ? -ENOENT : -ENOMEM;

    say(why, command, r);
    for (size_t i = 0; paths && paths[i] && r < 0 && r != -ENOEXEC; i++) {
        int here = check_path(AT_FDCWD, paths[i], other);
        if (here >= 0 || here == -ENOEXEC || (r == -ENOENT && here != -ENOENT && here != -ENOTDIR)) {
            r = here;
            memcpy(why, other, sizeof(other));
        }
    }
    if (r == -ENOENT)
        snprintf(why + strlen(why), EXEC_WHY_MAX - strlen(why), " in any directory of PATH");
    exec_paths_free(paths);
    return r;
}

int exec_check(const char *command, const char *directory, char why[EXEC_WHY_MAX])
{
    char safe[EXEC_WHY_MAX / 4];

    if (!strchr(command, '/'))
        return check_search(command, why);
    int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return say(why, directory, -errno);
    int r = check_path(at, command, why);
    if (r < 0 && command[0] != '/' && faccessat(at, command, F_OK, AT_EACCESS) < 0) {
        text_escape(safe, sizeof(safe), directory, strlen(directory));
        snprintf(why + strlen(why), EXEC_WHY_MAX - strlen(why), " below directory \"%s\"", safe);
    }
    close(at);
    return r;
}

int exec_check_directory(const char *directory, char why[EXEC_WHY_MAX])
{
    struct stat st;

    if (stat(directory, &st) < 0)
        return say(why, directory, -errno);
    if (!S_ISDIR(st.st_mode))
        return say(why, directory, -ENOTDIR);
    return access(directory, X_OK) < 0 ? say(why, directory, -errno) : 0;
}
