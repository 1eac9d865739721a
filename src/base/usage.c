/* Processor time and age; see usage.h. */
#include "base/usage.h"

#include "base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t usage_cpu_us(pid_t pid)
{
    struct timespec used;
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Field 22 of proc(5); the second, the name, is in brackets and may hold anything. */
uint64_t usage_parse_start(const char *text)
{
    const char *at = strrchr(text, ')');
    uint64_t ticks;

    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        at += at != NULL;
    }
    return at && sscanf(at, "%" SCNu64, &ticks) == 1 ? ticks : 0;
}

uint64_t usage_age_ms(void)
{
    char text[1024];
    struct timespec now;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    fd_close(&fd);
    if (n <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) < 0)
        return 0;
    text[n] = '\0';
    uint64_t start = usage_parse_start(text) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return start > 0 && now_ms > start ? now_ms - start : 0;
}
