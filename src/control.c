/*
 * The clients of the control socket. A client is READING its line, then WAITING for the command's answer,
 * then WRITING it; each but WAITING has a deadline, and those that are WAITING keep nobody out.
 */
#include "control.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "control_socket.h"
#include "log_ids.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_WITHIN_MS 10000
#define TAKE_WITHIN_MS 10000
#define PAUSE_MS       100

enum client_state {
    CLIENT_READING,
    CLIENT_WAITING,
    CLIENT_WRITING,
};

/* Of the lines about clients that may not change anything. */
#define DENIALS_PER_SECOND 5

struct control {
    struct loop *loop; /* borrows */
    struct loop_source source;
    struct loop_timer pause; /* until connections are looked at again */
    int fd;                  /* owns */
    char *path;              /* owns */
    struct sockfile_id id;
    control_fn *on_command;
    void *owner;
    struct list clients;
    size_t n_clients, n_waiting; /* in all; WAITING ones among them */
    struct log_limit denials;
};

struct control_client {
    struct list link;
    struct control *control;
    struct loop_source source;
    struct loop_timer deadline;
    struct loop_garbage garbage;
    int fd; /* owns */
    enum client_state state;
    struct ucred peer;
    char line[CONTROL_LINE_MAX + 1];
    size_t len;
    char *answer; /* owns */
    size_t answer_len, sent;
    void *held;
    void (*on_gone)(void *held);
};

static void free_client(struct loop_garbage *garbage)
{
    struct control_client *client = container_of(garbage, struct control_client, garbage);

    free(client->answer);
    free(client);
}

static void set_state(struct control_client *client, enum client_state state)
{
    client->control->n_waiting -= client->state == CLIENT_WAITING;
    client->control->n_waiting += state == CLIENT_WAITING;
    client->state = state;
}

static void close_client(struct control_client *client)
{
    struct control *control = client->control;

    if (client->on_gone)
        client->on_gone(client->held);
    client->on_gone = NULL;
    loop_remove(control->loop, &client->source);
    loop_timer_stop(control->loop, &client->deadline);
    fd_close(&client->fd);
    list_remove(&client->link);
    set_state(client, CLIENT_READING);
    control->n_clients--;
    loop_free_later(control->loop, &client->garbage, free_client);
}

static void on_deadline(struct loop_timer *timer)
{
    close_client(container_of(timer, struct control_client, deadline));
}

static void set_deadline(struct control_client *client, uint64_t within_ms)
{
    struct loop *loop = client->control->loop;

    loop_timer_set(loop, &client->deadline, loop_now(loop) + within_ms, on_deadline);
}

/* What came behind the line is read and thrown away: closing with unread input would cost the client its
 * answer. */
static void discard_input(struct control_client *client)
{
    char rest[CONTROL_LINE_MAX];

    for (int i = 0; i < 16 && recv(client->fd, rest, sizeof(rest), MSG_DONTWAIT) > 0; i++)
        ;
}

static void write_answer(struct control_client *client)
{
    while (client->sent < client->answer_len) {
        ssize_t n = send(client->fd, client->answer + client->sent, client->answer_len - client->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            loop_change(client->control->loop, &client->source, EPOLLOUT);
            return;
        }
        if (n < 0)
            break;
        client->sent += (size_t)n;
    }
    discard_input(client);
    close_client(client);
}

void control_answer(struct control_client *client, enum control_code code, const char *text)
{
    assert(client->state == CLIENT_WAITING);
    client->on_gone = NULL;
    set_state(client, CLIENT_WRITING);
    int n = asprintf(&client->answer, "%d %zu\n%s", (int)code, strlen(text), text);
    if (n < 0) {
        client->answer = NULL;
        close_client(client);
        return;
    }
    client->answer_len = (size_t)n;
    set_deadline(client, TAKE_WITHIN_MS);
    write_answer(client);
}

void control_note(struct control_client *client, const char *text)
{
    char line[CONTROL_NOTE_MAX];
    int n = snprintf(line, sizeof(line), "# %s\n", text);

    assert(client->state == CLIENT_WAITING);
    /* Nothing was sent to it yet, so that it fits. */
    if (n < (int)sizeof(line) && send(client->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("control: a client that waits could not be told why");
}

void control_hold(struct control_client *client, void *held, void (*on_gone)(void *held))
{
    assert(client->state == CLIENT_WAITING);
    client->held = held;
    client->on_gone = on_gone;
}

/* Too many wait: it is answered at once, and what it waits for is forgotten. */
static void turn_away(struct control_client *client)
{
    if (client->on_gone)
        client->on_gone(client->held);
    control_answer(client, CONTROL_NO, "too many clients wait for an answer already; try again\n");
}

/* The whole line is there, LEN bytes of it. */
static void run(struct control_client *client, size_t len)
{
    struct control_line line;

    set_state(client, CLIENT_WAITING);
    loop_timer_stop(client->control->loop, &client->deadline);
    loop_change(client->control->loop, &client->source, 0); /* the end of the connection is told anyway */
    if (control_parse(client->line, len, &line) < 0)
        control_answer(client, CONTROL_USAGE, "not a command\n");
    else
        client->control->on_command(client->control->owner, client, &line);
    if (client->state == CLIENT_WAITING && client->control->n_waiting > CONTROL_WAITING_MAX)
        turn_away(client);
}

static void read_line(struct control_client *client)
{
    ssize_t n = recv(client->fd, client->line + client->len, CONTROL_LINE_MAX - client->len, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_client(client);
        return;
    }
    char *lf = memchr(client->line + client->len, '\n', (size_t)n);
    client->len += (size_t)n;
    if (lf) {
        run(client, (size_t)(lf - client->line));
    } else if (client->len == CONTROL_LINE_MAX) {
        set_state(client, CLIENT_WAITING);
        control_answer(client, CONTROL_USAGE, "the line is too long\n");
    }
}

static void on_client(struct loop_source *source, uint32_t events)
{
    struct control_client *client = container_of(source, struct control_client, source);

    switch (client->state) {
    case CLIENT_READING:
        read_line(client);
        break;
    case CLIENT_WAITING:
        if (events & (EPOLLHUP | EPOLLERR))
            close_client(client);
        break;
    case CLIENT_WRITING:
        write_answer(client);
        break;
    }
}

/* NULL, and FD is closed, when it cannot be. */
static struct control_client *new_client(struct control *control, int fd)
{
    struct control_client *client = calloc(1, sizeof(*client));
    socklen_t len = sizeof(client->peer);

    if (!client) {
        fd_close(&fd);
        return NULL;
    }
    client->control = control;
    client->fd = fd;
    client->source.fd = -1;
    list_append(&control->clients, &client->link);
    control->n_clients++;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &len) < 0 ||
        loop_add(control->loop, &client->source, fd, EPOLLIN, on_client) < 0) {
        close_client(client);
        return NULL;
    }
    return client;
}

static void add_client(struct control *control, int fd)
{
    struct control_client *client = new_client(control, fd);

    if (client)
        set_deadline(client, LINE_WITHIN_MS);
}

struct control_client *control_adopt_client(struct control *control, int fd)
{
    struct control_client *client = new_client(control, fd);

    if (client) {
        set_state(client, CLIENT_WAITING);
        loop_change(control->loop, &client->source, 0);
    }
    return client;
}

int control_client_fd(const struct control_client *client)
{
    return client->fd;
}

static void say_busy(int fd)
{
    static const char text[] = "too many clients of the control socket; try again\n";
    char answer[sizeof(text) + 16];

    int n = snprintf(answer, sizeof(answer), "%d %zu\n%s", CONTROL_NO, strlen(text), text);
    if (send(fd, answer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("control: a client left before it could be turned away");
}

static void on_pause_over(struct loop_timer *timer)
{
    struct control *control = container_of(timer, struct control, pause);

    loop_change(control->loop, &control->source, EPOLLIN);
}

/* No descriptor is free: the connection stays where it is, and must not wake us all the time. */
static void pause_accepting(struct control *control)
{
    loop_change(control->loop, &control->source, 0);
    loop_timer_set(control->loop, &control->pause, loop_now(control->loop) + PAUSE_MS, on_pause_over);
}

/*
 * Those that stall must not keep out one that has something to say: who has had his chance for the longest
 * time goes. False when all wait for us.
 */
static bool make_room(struct control *control)
{
    list_for_each (it, &control->clients) {
        struct control_client *client = container_of(it, struct control_client, link);

        if (client->state == CLIENT_WAITING)
            continue;
        if (client->state == CLIENT_READING) {
            discard_input(client);
            say_busy(client->fd);
        }
        close_client(client);
        return true;
    }
    return false;
}

/* One at a time: whoever has said something is heard before the next one comes. */
static void on_connection(struct loop_source *source, uint32_t events)
{
    struct control *control = container_of(source, struct control, source);

    (void)events;
    int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        pause_accepting(control);
    if (fd < 0)
        return;
    if (control->n_clients - control->n_waiting < CONTROL_CLIENTS_MAX || make_room(control)) {
        add_client(control, fd);
        return;
    }
    say_busy(fd);
    fd_close(&fd);
}

/* FD: one that listens already; -1: a new one is bound. */
static int open_on(struct control *control, const char *path, int fd)
{
    control->path = strdup(path);
    if (!control->path)
        return -ENOMEM;
    control->fd = fd >= 0 ? fd : control_socket_open(path, &control->id);
    if (control->fd < 0)
        return control->fd;
    return loop_add(control->loop, &control->source, control->fd, EPOLLIN, on_connection);
}

int control_adopt(struct loop *loop, int fd, const char *path, struct sockfile_id id, control_fn *on_command,
                  void *owner, struct control **ret)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        return -ENOMEM;
    *control = (struct control){
        .loop = loop, .fd = -1, .source.fd = -1, .on_command = on_command, .owner = owner, .id = id
    };
    list_init(&control->clients);
    log_limit_init(&control->denials, loop, NULL, " about commands that were not permitted",
                   DENIALS_PER_SECOND);
    int r = open_on(control, path, fd);
    if (r < 0)
        control_close(control);
    else
        *ret = control;
    return r;
}

int control_open(struct loop *loop, const char *path, control_fn *on_command, void *owner,
                 struct control **ret)
{
    return control_adopt(loop, -1, path, (struct sockfile_id){ 0 }, on_command, owner, ret);
}

int control_renew(struct control *control)
{
    struct sockfile_id id;

    if (!control_socket_is_gone(control->path, &control->id))
        return 0;
    int fd = control_socket_open(control->path, &id);
    if (fd < 0)
        return fd;
    loop_timer_stop(control->loop, &control->pause);
    loop_remove(control->loop, &control->source);
    fd_close(&control->fd);
    int r = loop_add(control->loop, &control->source, fd, EPOLLIN, on_connection);
    if (r < 0) {
        sockfile_remove(control->path, &id);
        fd_close(&fd);
        return r;
    }
    control->fd = fd;
    control->id = id;
    return 1;
}

void control_close(struct control *control)
{
    if (!control)
        return;
    list_for_each (it, &control->clients)
        close_client(container_of(it, struct control_client, link));
    if (control->fd >= 0)
        sockfile_remove(control->path, &control->id);
    loop_remove(control->loop, &control->source);
    loop_timer_stop(control->loop, &control->pause);
    log_limit_done(&control->denials);
    fd_close(&control->fd);
    free(control->path);
    free(control);
}

const char *control_path(const struct control *control)
{
    return control->path;
}

int control_fd(const struct control *control)
{
    return control->fd;
}

struct sockfile_id control_file(const struct control *control)
{
    return control->id;
}

/*
 * Programs run as the daemon's user, so that user may steer it only where it is a person: not a system user,
 * not one of systemd's dynamic users, not "nobody", who may also be somebody of another user namespace.
 */
static bool is_person(uid_t uid)
{
    return uid >= 1000 && !(uid >= 60000 && uid <= 65535);
}

bool control_is_trusted(const struct control_client *client)
{
    uid_t uid = client->peer.uid;

    return uid == 0 || (uid == geteuid() && is_person(uid));
}

static struct addr peer_of(const struct control_client *client)
{
    return (struct addr){
        .family = AF_UNIX, .uid = client->peer.uid, .gid = client->peer.gid, .pid = client->peer.pid
    };
}

void control_log(const struct control_client *client, const char *service, const char *format, ...)
{
    struct addr peer = peer_of(client);
    struct log_about about = { .id = LOG_ID_CONTROL, .service = service, .peer = &peer };
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_write(LOG_NOTICE, &about, "%s", text);
}

bool control_may_change(struct control_client *client, const char *what)
{
    struct addr peer = peer_of(client);
    struct log_about about = { .id = LOG_ID_CONTROL_DENIED, .peer = &peer };

    if (control_is_trusted(client))
        return true;
    if (log_limit_take(&client->control->denials, LOG_NOTICE))
        log_write(LOG_NOTICE, &about, "sockctl %s: not permitted", what);
    return false;
}
