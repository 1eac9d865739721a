/*
 * The packets between the master and its workers and spawners: fixed size, non-blocking, a word, a number, a
 * text, and perhaps a descriptor. Runs in all of them.
 */
#include "channel.h"

#include "base/fd.h"
#include "base/packet.h"

#include <errno.h>
#include <stdio.h>

static int send_message(int fd, const struct channel_message *message, int descriptor)
{
    const struct iovec part = { .iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message) };

    return packet_send(fd, &part, 1, &descriptor, descriptor >= 0);
}

int channel_send(int fd, enum channel_word word, uint32_t value)
{
    return channel_send_fd(fd, word, value, -1);
}

int channel_send_text(int fd, enum channel_word word, uint32_t value, const char *text)
{
    struct channel_message message = { .word = word, .value = value };

    snprintf(message.text, sizeof(message.text), "%s", text);
    return send_message(fd, &message, -1);
}

int channel_send_set(int fd, enum channel_word word, const bool *set, size_t n)
{
    int r = 0;

    for (size_t first = 0; first < n && r == 0; first += CHANNEL_SET_SPAN) {
        struct channel_message message = { .word = word, .value = (uint32_t)first };
        bool any = false;

        for (size_t i = first; i < n && i < first + CHANNEL_SET_SPAN; i++) {
            if (!set[i])
                continue;
            any = true;
            message.text[(i - first) / 8] |= (char)(1 << (i - first) % 8);
        }
        if (any)
            r = send_message(fd, &message, -1);
    }
    return r;
}

int channel_send_fd(int fd, enum channel_word word, uint32_t value, int descriptor)
{
    struct channel_message message = { .word = word, .value = value };

    return send_message(fd, &message, descriptor);
}

int channel_receive(int fd, struct channel_message *ret, int *ret_fd)
{
    struct channel_message message;
    struct iovec part = { .iov_base = &message, .iov_len = sizeof(message) };
    int descriptor = -1;
    ssize_t n = packet_receive(fd, &part, 1, &descriptor, ret_fd != NULL);

    if (n < 0)
        return (int)n;
    if (n != (ssize_t)sizeof(message)) {
        fd_close(&descriptor);
        return n == 0 ? 0 : -EPROTO;
    }
    message.text[sizeof(message.text) - 1] = '\0';
    *ret = message;
    if (ret_fd)
        *ret_fd = descriptor;
    return 1;
}
