/*
 * The other yardstick: an io_uring loop that only receives and sends, with multishot accept, multishot
 * receive and a ring of provided buffers. No parsing, no limits. Runs until it is ended.
 *
 *   bare_uring [-c CPU] PORT
 */
#include "bare.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES     4096
#define BUFFERS     4096
#define BUFFER_SIZE 4096
#define GROUP       1

enum { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;

/* What a completion is about: the kind, the descriptor and, of a send, the buffer to give back. */
static uint64_t tag(unsigned kind, int fd, unsigned buffer)
{
    return (uint64_t)kind << 56 | (uint64_t)buffer << 32 | (uint32_t)fd;
}

static struct io_uring_sqe *new_entry(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void begin_accept(int listen_fd)
{
    struct io_uring_sqe *sqe = new_entry();
    io_uring_prep_multishot_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, tag(ACCEPT, listen_fd, 0));
}

static void begin_receive(int fd)
{
    struct io_uring_sqe *sqe = new_entry();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data64(sqe, tag(RECEIVE, fd, 0));
}

static void give_buffer(unsigned number)
{
    io_uring_buf_ring_add(buffers, memory + (size_t)number * BUFFER_SIZE, BUFFER_SIZE, (unsigned short)number,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void on_accepted(const struct io_uring_cqe *cqe, int listen_fd)
{
    int on = 1;
    if (cqe->res >= 0) {
        setsockopt(cqe->res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        begin_receive(cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        begin_accept(listen_fd);
}

static void on_received(const struct io_uring_cqe *cqe, int fd)
{
    if (cqe->res > 0) {
        unsigned number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        struct io_uring_sqe *sqe = new_entry();
        io_uring_prep_send(sqe, fd, memory + (size_t)number * BUFFER_SIZE, (size_t)cqe->res,
                           MSG_WAITALL | MSG_NOSIGNAL);
        io_uring_sqe_set_data64(sqe, tag(SEND, fd, number));
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (cqe->res > 0 || cqe->res == -ENOBUFS)
        begin_receive(fd);
    else
        close(fd);
}

static void on_completion(const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;

    switch (cqe->user_data >> 56) {
    case ACCEPT:
        on_accepted(cqe, fd);
        break;
    case RECEIVE:
        on_received(cqe, fd);
        break;
    default:
        give_buffer((unsigned)(cqe->user_data >> 32) & 0xffffff);
        break;
    }
}

static void start(void)
{
    struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                               IORING_SETUP_CQSIZE,
                                      .cq_entries = 4 * ENTRIES };
    int r = io_uring_queue_init_params(ENTRIES, &ring, &params);
    if (r < 0)
        errx(1, "io_uring: %s", strerror(-r));
    buffers = aligned_alloc(4096, BUFFERS * sizeof(struct io_uring_buf));
    memory = malloc((size_t)BUFFERS * BUFFER_SIZE);
    if (!buffers || !memory)
        err(1, "buffers");
    struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)buffers, .ring_entries = BUFFERS, .bgid = GROUP };
    r = io_uring_register_buf_ring(&ring, &reg, 0);
    if (r < 0)
        errx(1, "buffers: %s", strerror(-r));
    io_uring_buf_ring_init(buffers);
    for (unsigned i = 0; i < BUFFERS; i++)
        give_buffer(i);
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "c:")) != -1;) {
        if (option != 'c')
            return 64;
        pin(atoi(optarg));
    }
    if (optind + 1 != argc)
        errx(64, "usage: bare_uring [-c CPU] PORT");
    start();
    begin_accept(open_port(SOCK_STREAM, (uint16_t)atoi(argv[optind])));
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        int r = io_uring_submit_and_wait(&ring, 1);
        if (r < 0 && r != -EINTR)
            errx(1, "io_uring: %s", strerror(-r));
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            on_completion(cqe);
            n++;
        }
        io_uring_cq_advance(&ring, n);
    }
}
