/* Loads libmicrohttpd; see exporter_library.h. */
#include "exporter_library.h"

#include "base/log.h"
#include "log_ids.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/* With the version of its binary interface, the one of the header that this is built with: Debian has had no
 * other since 2011. */
#define LIBRARY "libmicrohttpd.so.12"

static const struct {
    const char *name;
    size_t at; /* in struct exporter_library */
} functions[] = {
#define X(name) { "MHD_" #name, offsetof(struct exporter_library, name) },
    EXPORTER_LIBRARY_FUNCTIONS(X)
#undef X
};

int exporter_library_load(struct exporter_library *ret)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    for (size_t i = 0; library && i < sizeof(functions) / sizeof(functions[0]); i++) {
        void *function = dlsym(library, functions[i].name);

        if (!function)
            library = NULL;
        else
            *(void **)(void *)((char *)ret + functions[i].at) = function;
    }
    if (library)
        return 0;
    log_event(LOG_ERR, LOG_ID_FAULT, "the exporter cannot load the library that speaks HTTP: %s", dlerror());
    return -ELIBACC;
}
