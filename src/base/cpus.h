/*
 * How many processors this process may really use: its affinity, reduced by the quota of its control group
 * and of the groups around it (v2 cpu.max, v1 cpu.cfs_quota_us). At least 1. Never logs.
 */
#ifndef SOCKD_BASE_CPUS_H
#define SOCKD_BASE_CPUS_H

unsigned cpus_usable(void);

/* From the text of a cgroup's cpu.max ("200000 100000", "max 100000"): whole processors, rounded up; 0 for no
 * limit or nonsense. */
unsigned cpus_parse_max(const char *text);

#endif
