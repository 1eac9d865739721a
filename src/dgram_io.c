/*
 * How datagrams come and go: many with one system call, and the address that was asked travels with them.
 * Knows nothing of who may be answered. See recvmmsg(2), ip(7) IP_PKTINFO, ipv6(7). Runs in a worker.
 */
#include "dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* In the one canonical form: IPv4 that came over an IPv6 socket is IPv4. */
static void set_ip6(struct addr *ret, const struct in6_pktinfo *info)
{
    struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6,
                                 .sin6_port = htons(ret->port),
                                 .sin6_addr = info->ipi6_addr,
                                 .sin6_scope_id = info->ipi6_ifindex };
    struct sockaddr_storage sa = { 0 };

    memcpy(&sa, &sin6, sizeof sin6);
    addr_from_sockaddr(ret, &sa);
}

void dgram_find_local(const struct dgram *dgram, struct msghdr *message, struct addr *ret)
{
    *ret = dgram->listener->addr;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(ret->ip, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
                set_ip6(ret, &info);
        }
    }
}

/* Makes MESSAGE leave from LOCAL. An IPv6 socket too takes IP_PKTINFO with what it sends over IPv4. */
static void set_local(struct msghdr *message, union dgram_control *control, const struct addr *local)
{
    message->msg_control = control;
    if (local->family == AF_INET) {
        struct in_pktinfo info = { 0 };

        memcpy(&info.ipi_spec_dst, local->ip, sizeof info.ipi_spec_dst);
        message->msg_controllen = CMSG_SPACE(sizeof info);
        struct cmsghdr *c = CMSG_FIRSTHDR(message);
        *c = (struct cmsghdr){ .cmsg_level = IPPROTO_IP,
                               .cmsg_type = IP_PKTINFO,
                               .cmsg_len = CMSG_LEN(sizeof info) };
        memcpy(CMSG_DATA(c), &info, sizeof info);
    } else {
        struct in6_pktinfo info = { .ipi6_ifindex = local->scope };

        memcpy(&info.ipi6_addr, local->ip, sizeof info.ipi6_addr);
        message->msg_controllen = CMSG_SPACE(sizeof info);
        struct cmsghdr *c = CMSG_FIRSTHDR(message);
        *c = (struct cmsghdr){ .cmsg_level = IPPROTO_IPV6,
                               .cmsg_type = IPV6_PKTINFO,
                               .cmsg_len = CMSG_LEN(sizeof info) };
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
}

struct dgram_batch *dgram_batch_new(void)
{
    struct dgram_batch *batch = calloc(1, sizeof *batch);

    if (!batch)
        return NULL;
    list_init(&batch->spare);
    for (int i = 0; i < DGRAM_BATCH; i++) {
        batch->in_part[i] = (struct iovec){ .iov_base = batch->data[i], .iov_len = DGRAM_MAX };
        batch->in[i].msg_hdr = (struct msghdr){ .msg_name = &batch->in_name[i],
                                                .msg_iov = &batch->in_part[i],
                                                .msg_iovlen = 1,
                                                .msg_control = &batch->in_control[i] };
    }
    return batch;
}

void dgram_batch_free(struct dgram_batch *batch)
{
    if (!batch)
        return;
    list_for_each (it, &batch->spare)
        free(container_of(it, struct dgram_request, link));
    free(batch);
}

struct dgram_request *dgram_request_new(struct dgram_batch *batch)
{
    if (list_empty(&batch->spare))
        return calloc(1, sizeof(struct dgram_request));
    struct dgram_request *r = container_of(batch->spare.next, struct dgram_request, link);
    list_remove(&r->link);
    return r;
}

int dgram_receive(struct dgram *dgram)
{
    struct dgram_batch *batch = dgram->served->work->datagrams;

    for (int i = 0; i < DGRAM_BATCH; i++) {
        struct msghdr *message = &batch->in[i].msg_hdr;

        message->msg_namelen = sizeof batch->in_name[i];
        message->msg_controllen = sizeof batch->in_control[i];
        batch->in_name[i].ss_family = AF_UNIX;
    }
    int n = recvmmsg(dgram->fd, batch->in, DGRAM_BATCH, MSG_DONTWAIT, NULL);
    return n < 0 ? -errno : n;
}

static void count_sent(struct dgram *dgram, size_t len)
{
    stats_add(&dgram->served->stats->datagrams_out, 1);
    stats_add(&dgram->served->stats->bytes_out, len);
}

void dgram_send_queued(struct dgram *dgram)
{
    struct dgram_batch *batch = dgram->served->work->datagrams;
    int done = 0;

    while (done < batch->n_out) {
        int n = sendmmsg(dgram->fd, batch->out + done, (unsigned)(batch->n_out - done),
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            stats_add(&dgram->served->stats->datagrams_unsent, 1);
            n = 1;
        } else {
            for (int i = done; i < done + n; i++)
                count_sent(dgram, batch->out_part[i].iov_len);
        }
        done += n;
    }
    batch->n_out = 0;
    batch->copied = 0;
}

/* A message with one part to the sender of R, from the address that was asked. */
static void address(struct msghdr *message, struct iovec *part, union dgram_control *control,
                    struct dgram_request *r)
{
    *message =
        (struct msghdr){ .msg_name = &r->name, .msg_namelen = r->name_len, .msg_iov = part, .msg_iovlen = 1 };
    if (addr_is_any(&r->dgram->listener->addr))
        set_local(message, control, &r->local);
}

void dgram_queue(struct dgram_request *r, const char *data, size_t len)
{
    struct dgram_batch *batch = r->dgram->served->work->datagrams;
    bool stays = data >= batch->data[0] && data < batch->data[0] + sizeof batch->data;

    if (batch->n_out == DGRAM_BATCH || (!stays && len > DGRAM_COPIES - batch->copied))
        dgram_send_queued(r->dgram);
    if (!stays) {
        memcpy(batch->copies + batch->copied, data, len);
        data = batch->copies + batch->copied;
        batch->copied += len;
    }
    int i = batch->n_out++;
    batch->out_part[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = len };
    address(&batch->out[i].msg_hdr, &batch->out_part[i], &batch->out_control[i], r);
    memcpy(&batch->out_name[i], &r->name, r->name_len);
    batch->out[i].msg_hdr.msg_name = &batch->out_name[i];
}

void dgram_send(struct dgram_request *r, const char *data, size_t len)
{
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
    struct msghdr message;
    union dgram_control control = { .room = { 0 } };

    address(&message, &part, &control, r);
    if (sendmsg(r->dgram->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        stats_add(&r->dgram->served->stats->datagrams_unsent, 1);
    else
        count_sent(r->dgram, len);
}
