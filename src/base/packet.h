/*
 * Packets, with descriptors where wanted, over a non-blocking SOCK_SEQPACKET pair. See unix(7), SCM_RIGHTS.
 * Functions never block, never log, and restart when they are interrupted.
 */
#ifndef SOCKD_BASE_PACKET_H
#define SOCKD_BASE_PACKET_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Descriptors that one packet may carry. */
#define PACKET_FDS_MAX 4

/*
 * Sends PARTS as one packet, with the N_FDS descriptors in FDS, which stay the caller's. 0; -EAGAIN when the
 * other side does not read, or when too many descriptors are on their way; else -errno.
 */
int packet_send(int fd, const struct iovec *parts, int n_parts, const int *fds, int n_fds);

/*
 * Receives one packet into PARTS and returns its length, which is more than there was room for when it was
 * cut; 0 at the end of file; or -errno. RET_FDS has room for N_FDS descriptors (the caller's, close-on-exec;
 * the unused are -1); the kernel closes those that come beyond.
 */
ssize_t packet_receive(int fd, struct iovec *parts, int n_parts, int *ret_fds, int n_fds);

#endif
