/* The worker's end; see spawner_link.h. */
#include "spawner_link.h"

#include "base/fd.h"

static struct spawner_user *of_link(struct list *link)
{
    return container_of(link, struct spawner_user, link);
}

static void on_packet(struct spawner_line *line, const struct spawner_packet *packet,
                      int fds[SPAWNER_FDS_MAX])
{
    struct spawner_link *link = container_of(line, struct spawner_link, line);

    list_for_each (it, &link->users) {
        struct spawner_user *user = of_link(it);
        if (user->service == packet->service) {
            user->on_packet(user->context, packet, fds);
            return;
        }
    }
    for (int i = 0; i < SPAWNER_FDS_MAX; i++)
        fd_close(&fds[i]);
}

static void on_lost(struct spawner_line *line)
{
    struct spawner_link *link = container_of(line, struct spawner_link, line);

    list_for_each (it, &link->users)
        of_link(it)->on_lost(of_link(it)->context);
}

void spawner_link_init(struct spawner_link *link, struct loop *loop)
{
    spawner_line_init(&link->line, loop);
    link->line.on_packet = on_packet;
    link->line.on_lost = on_lost;
    list_init(&link->users);
}

void spawner_link_done(struct spawner_link *link)
{
    spawner_line_close(&link->line);
}

int spawner_link_connect(struct spawner_link *link, int fd)
{
    if (spawner_link_is_connected(link)) {
        spawner_line_close(&link->line);
        on_lost(&link->line);
    }
    int r = spawner_line_open(&link->line, fd);
    if (r < 0)
        return r;
    list_for_each (it, &link->users)
        of_link(it)->on_connected(of_link(it)->context);
    return 0;
}

void spawner_link_join(struct spawner_link *link, struct spawner_user *user)
{
    list_init(&user->link);
    list_append(&link->users, &user->link);
    if (spawner_link_is_connected(link))
        user->on_connected(user->context);
}

void spawner_link_leave(struct spawner_user *user)
{
    list_remove(&user->link);
}

int spawner_link_send(struct spawner_link *link, const struct spawner_packet *packet, int fd)
{
    return spawner_line_send(&link->line, packet, &fd, fd >= 0);
}
