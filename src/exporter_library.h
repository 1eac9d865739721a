/*
 * libmicrohttpd, loaded by the process that needs it. It brings thirteen more libraries (TLS and its kin): to
 * load them costs 1.8 ms and 160 pages, which is most of what the dynamic linker takes for all of sockd, in a
 * daemon that most often serves no metrics. The functions have the names that the library gives them, without
 * their prefix.
 */
#ifndef SOCKD_EXPORTER_LIBRARY_H
#define SOCKD_EXPORTER_LIBRARY_H

#include <microhttpd.h>

#define EXPORTER_LIBRARY_FUNCTIONS(X) \
    X(add_connection)                 \
    X(add_response_header)            \
    X(create_response_from_buffer)    \
    X(create_response_from_fd)        \
    X(destroy_response)               \
    X(get_connection_info)            \
    X(get_daemon_info)                \
    X(get_timeout)                    \
    X(queue_response)                 \
    X(resume_connection)              \
    X(run)                            \
    X(start_daemon)                   \
    X(stop_daemon)                    \
    X(suspend_connection)

struct exporter_library {
#define X(name) __typeof__(MHD_##name) *name;
    EXPORTER_LIBRARY_FUNCTIONS(X)
#undef X
};

/* For the rest of the process. 0; or -ELIBACC, after saying why in the log. */
int exporter_library_load(struct exporter_library *ret);

#endif
