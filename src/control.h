/*
 * The control socket of the daemon: a client sends one line, gets one answer, and the connection ends.
 *
 *   request:  COMMAND [--json] [ARGUMENT...] LF        at most CONTROL_LINE_MAX bytes
 *   notes:    "# " TEXT LF, none or some               what the answer waits for
 *   answer:   CODE SP LENGTH LF, then LENGTH bytes     CODE is the exit status of sockctl
 *
 * Runs in the master's loop and never blocks it: clients are few, each has deadlines, and what a command
 * needs time for is answered later. Who may do what is asked of the kernel (SO_PEERCRED), never of the
 * client.
 */
#ifndef SOCKD_CONTROL_H
#define SOCKD_CONTROL_H

#include "base/loop.h"
#include "base/sockfile.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* No service can have this name. */
#define CONTROL_JSON        "--json"
#define CONTROL_LINE_MAX    4096
#define CONTROL_ARGS_MAX    16
#define CONTROL_CLIENTS_MAX 16 /* that speak or listen; more push out those that stall */
#define CONTROL_WAITING_MAX 16 /* that wait for an answer which takes its time; more are turned away */
#define CONTROL_NOTE_MAX    512

enum control_code {
    CONTROL_OK = 0,
    CONTROL_NO = 1,    /* the daemon says no; status: degraded */
    CONTROL_USAGE = 2, /* no such command, or not so */
};

struct control_line {
    const char *command;
    bool json;
    const char *arg[CONTROL_ARGS_MAX];
    size_t n_args;
};

/*
 * Takes a line of LEN bytes, without its LF, apart in place: words of printable ASCII with spaces between. 0,
 * or -EINVAL. TEXT has room for a NUL at [LEN]. Pure.
 */
int control_parse(char *text, size_t len, struct control_line *ret);

struct control;
struct control_client;

/* A command came; LINE is borrowed until it returns. It must answer, now or later. */
typedef void control_fn(void *owner, struct control_client *client, const struct control_line *line);

/*
 * Listens on PATH (copied), group sockd where there is one. 0, or -errno: -EADDRINUSE when another daemon
 * answers there.
 */
int control_open(struct loop *loop, const char *path, control_fn *on_command, void *owner,
                 struct control **ret);
/*
 * Where somebody removed the file of the socket, or put another there, it is made anew; the clients stay. 1
 * when it was; 0 when all is as it was; -errno as at control_open.
 */
int control_renew(struct control *control);
/* Ends all clients; NULL is fine. */
void control_close(struct control *control);
const char *control_path(const struct control *control);

/*
 * For a program that takes our place: the descriptor (borrowed) and the file of the socket; and in the new
 * one the socket on FD, which it owns from then on, as at control_open. A client that waits for an answer
 * travels by its descriptor as well; NULL when it cannot, and its descriptor is closed.
 */
int control_fd(const struct control *control);
struct sockfile_id control_file(const struct control *control);
int control_adopt(struct loop *loop, int fd, const char *path, struct sockfile_id id, control_fn *on_command,
                  void *owner, struct control **ret);
int control_client_fd(const struct control_client *client);
struct control_client *control_adopt_client(struct control *control, int fd);

/* The answer; once. TEXT is copied. */
void control_answer(struct control_client *client, enum control_code code, const char *text);
/* The user is root, or the daemon's own user where that is a person. A refusal is logged, with WHAT was asked
 * for. */
bool control_may_change(struct control_client *client, const char *what);
/* The same, as no more than a question. */
bool control_is_trusted(const struct control_client *client);
/* A change that the client brought about. */
void control_log(const struct control_client *client, const char *service, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* While the answer is outstanding, and it waits: why; in one line, shorter than CONTROL_NOTE_MAX. */
void control_note(struct control_client *client, const char *text);
/* While the answer is outstanding: ON_GONE is called if the client leaves before it, or is turned away. */
void control_hold(struct control_client *client, void *held, void (*on_gone)(void *held));

#endif
