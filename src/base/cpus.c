/* Counts usable processors; used once, when a configuration says `workers = 0`. */
#include "base/cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

static unsigned divide_up(unsigned long long quota, unsigned long long period)
{
    if (quota == 0 || period == 0)
        return 0;
    unsigned long long n = quota / period + (quota % period ? 1 : 0);
    return n > 65536 ? 0 : (unsigned)n;
}

unsigned cpus_parse_max(const char *text)
{
    unsigned long long quota, period;

    if (strncmp(text, "max", 3) == 0 || sscanf(text, "%llu %llu", &quota, &period) != 2)
        return 0;
    return divide_up(quota, period);
}

/* The first line of DIR/FILE; false when it cannot be read. */
static bool read_line(const char *dir, const char *file, char *ret, int size)
{
    char path[1024];

    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return false;
    FILE *in = fopen(path, "re");
    if (!in)
        return false;
    bool ok = fgets(ret, size, in) != NULL;
    fclose(in);
    return ok;
}

/* What one directory of the cgroup tree allows; 0: no limit. */
static unsigned limit_of(const char *dir, bool v2)
{
    char quota[64], period[64];

    if (v2)
        return read_line(dir, "cpu.max", quota, sizeof(quota)) ? cpus_parse_max(quota) : 0;
    if (!read_line(dir, "cpu.cfs_quota_us", quota, sizeof(quota)) || quota[0] == '-' ||
        !read_line(dir, "cpu.cfs_period_us", period, sizeof(period)))
        return 0;
    return divide_up(strtoull(quota, NULL, 10), strtoull(period, NULL, 10));
}

/* The tightest limit of PATH below ROOT and of all groups above it. */
static unsigned limit_upwards(const char *root, char *path, bool v2)
{
    unsigned tightest = 0;
    char dir[768];

    for (;;) {
        if (snprintf(dir, sizeof(dir), "%s%s", root, path) < (int)sizeof(dir)) {
            unsigned here = limit_of(dir, v2);
            if (here > 0 && (tightest == 0 || here < tightest))
                tightest = here;
        }
        char *slash = strrchr(path, '/');
        if (!slash)
            return tightest;
        *slash = '\0';
    }
}

/* One line of /proc/self/cgroup: "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1). */
static unsigned limit_of_line(char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    char root[256];

    if (!path)
        return 0;
    *controllers++ = '\0';
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (strcmp(line, "0") == 0)
        return limit_upwards(CGROUP_ROOT, path, true);
    if (strcmp(controllers, "cpu") != 0 && strcmp(controllers, "cpu,cpuacct") != 0)
        return 0;
    snprintf(root, sizeof(root), CGROUP_ROOT "/%s", controllers);
    return limit_upwards(root, path, false);
}

unsigned cpus_usable(void)
{
    cpu_set_t set;
    unsigned n = 1;
    char line[512];

    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        n = (unsigned)CPU_COUNT(&set);
    FILE *in = fopen("/proc/self/cgroup", "re");
    while (in && fgets(line, sizeof(line), in)) {
        unsigned limit = limit_of_line(line);
        if (limit > 0 && limit < n)
            n = limit;
    }
    if (in)
        fclose(in);
    return n;
}
