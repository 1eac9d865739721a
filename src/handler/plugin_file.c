/* Copies, dlopen(3) and the ABI; see plugin_file.h. */
#include "handler/plugin_file.h"

#include "base/fd.h"
#include "base/list.h"
#include "base/memfd.h"
#include "base/text.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What ABI 1 began with: a plug-in has at least this much. */
#define PLUGIN_SIZE_MIN (offsetof(struct sockd_plugin, fini) + sizeof(void (*)(void *)))

/* Each worker has a copy of its own. */
#define COPY_MAX ((off_t)64 << 20)

struct plugin_file {
    struct list link;
    unsigned refs;
    struct stat file; /* as it was loaded */
    int copy;         /* owns; -1: the file itself is loaded */
    void *object;     /* owns; of dlopen */
};

/* Of this process. */
static struct list loaded = { &loaded, &loaded };

int plugin_say(char why[PLUGIN_WHY_MAX], const char *format, ...)
{
    char raw[PLUGIN_WHY_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_make_safe(why, PLUGIN_WHY_MAX, raw, strlen(raw));
    return -EINVAL;
}

/* The number is in the second word of every ABI, the size in the first. */
static int find_fault(const struct sockd_plugin *plugin, char why[PLUGIN_WHY_MAX])
{
    if (!plugin)
        return plugin_say(why, "it exports no sockd_plugin");
    if (plugin->abi != SOCKD_PLUGIN_ABI)
        return plugin_say(why, "it was made for ABI %" PRIu32 ", and this is %d: compile it anew",
                          plugin->abi, SOCKD_PLUGIN_ABI);
    if (plugin->size < PLUGIN_SIZE_MIN || plugin->size > 4096)
        return plugin_say(why, "its sockd_plugin.size is not sizeof(struct sockd_plugin)");
    if (!plugin->name || !plugin->handle)
        return plugin_say(why, "its sockd_plugin has no name or no handle");
    return 0;
}

/* Into F; F->copy stays -1 where there can be no copy. False when the file was written meanwhile. */
static bool copy_file(const char *path, struct plugin_file *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), copy = -1;
    struct stat after;
    bool whole = true;

    if (fd < 0)
        return true; /* dlopen says why */
    if (fstat(fd, &f->file) == 0 && S_ISREG(f->file.st_mode) && f->file.st_size <= COPY_MAX) {
        copy = memfd_copy("sockd-plugin", fd, (size_t)f->file.st_size);
        whole = copy != -EIO && fstat(fd, &after) == 0 && fd_is_same_file(&f->file, &after);
    }
    f->copy = copy < 0 ? -1 : copy;
    fd_close(&fd);
    return whole;
}

/* By this name a debugger finds the copy too. The descriptor stays open: one name is one file all the while.
 */
static void *open_copy(const struct plugin_file *f)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), f->copy);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void free_file(struct plugin_file *f)
{
    if (f->object)
        dlclose(f->object);
    fd_close(&f->copy);
    free(f);
}

/* One that has the same file loaded already, or F with its object. */
static struct plugin_file *load(const char *path, struct plugin_file *f, char why[PLUGIN_WHY_MAX])
{
    list_for_each (it, &loaded) {
        struct plugin_file *other = container_of(it, struct plugin_file, link);
        if (fd_is_same_file(&other->file, &f->file))
            return other;
    }
    f->object = f->copy >= 0 ? open_copy(f) : NULL;
    if (!f->object) {
        fd_close(&f->copy);
        f->object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (f->object)
        return f;
    plugin_say(why, "cannot be loaded: %s", dlerror());
    return NULL;
}

/* F, or one that has the same file, which F then is not needed for. */
static const struct sockd_plugin *take(const char *path, struct plugin_file *f, struct plugin_file **ret_file,
                                       char why[PLUGIN_WHY_MAX])
{
    if (!copy_file(path, f)) {
        plugin_say(why, "it is being written just now");
        return NULL;
    }
    struct plugin_file *found = load(path, f, why);
    const struct sockd_plugin *plugin = found ? dlsym(found->object, "sockd_plugin") : NULL;
    if (!found || find_fault(plugin, why) < 0)
        return NULL;
    if (found->refs++ == 0)
        list_append(&loaded, &found->link);
    *ret_file = found;
    return plugin;
}

const struct sockd_plugin *plugin_file_take(const char *path, struct plugin_file **ret_file,
                                            char why[PLUGIN_WHY_MAX])
{
    struct plugin_file *f = calloc(1, sizeof *f), *found = NULL;

    if (!f) {
        plugin_say(why, "cannot be loaded: %s", strerror(ENOMEM));
        return NULL;
    }
    f->copy = -1;
    list_init(&f->link);
    const struct sockd_plugin *plugin = take(path, f, &found, why);
    if (found != f)
        free_file(f);
    *ret_file = found;
    return plugin;
}

void plugin_file_give(struct plugin_file *file)
{
    if (--file->refs > 0)
        return;
    list_remove(&file->link);
    free_file(file);
}

int plugin_try(const char *path, char ret_why[PLUGIN_WHY_MAX])
{
    struct plugin_file *file;

    if (!plugin_file_take(path, &file, ret_why))
        return -EINVAL;
    plugin_file_give(file);
    return 0;
}
