/*
 * Runs a fuzz target over files, for compilers without libFuzzer and for `make check`: each argument is a
 * file or a directory, of which every file is taken. Says how many there were; a target that finds a fault
 * aborts, and the name of the file is the last line. Fails when there was none, so that a lost corpus is no
 * success.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replayed;

static void fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

/* Exactly as many bytes as the file has are allocated, so that a sanitizer sees any step beyond. */
static void replay_file(const char *path, int fd, size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1);
    size_t len = 0;
    ssize_t n;

    if (!data)
        fail(path);
    while (len < size && (n = read(fd, data + len, size - len)) != 0) {
        if (n < 0)
            fail(path);
        len += (size_t)n;
    }
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    replayed++;
}

static void replay(const char *path);

/* In alphabetical order, so that two runs print the same. */
static void replay_directory(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);

    if (n < 0)
        fail(path);
    for (int i = 0; i < n; i++) {
        char *name;
        if (entries[i]->d_name[0] != '.') {
            if (asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0)
                fail(path);
            replay(name);
            free(name);
        }
        free(entries[i]);
    }
    free(entries);
}

static void replay(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        fail(path);
    if (S_ISDIR(st.st_mode))
        replay_directory(path);
    else
        replay_file(path, fd, (size_t)st.st_size);
    close(fd);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    if (replayed == 0) {
        fprintf(stderr, "%s: no file to replay\n", argv[0]);
        return 1;
    }
    fprintf(stderr, "%s: %zu files replayed\n", argv[0], replayed);
    return 0;
}
