/*
 * One look at the daemon, for top: what `status --json` says, as numbers. Pure. Whatever is missing there, as
 * in the answer of an older daemon, is 0 here; text is a stranger's and is made safe where it is shown.
 */
#ifndef SOCKD_CLIENT_TOP_SAMPLE_H
#define SOCKD_CLIENT_TOP_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#define TOP_BUCKETS_MAX 32

/* Counters only grow, while the daemon lives. */
struct top_counters {
    uint64_t accepted, requests, refused, failed, bytes_in, bytes_out;
    uint64_t durations[TOP_BUCKETS_MAX]; /* requests by how long they took */
};

struct top_service {
    char *name, *state, *why; /* own */
    uint64_t connections, in_hand, queue, helpers, helpers_busy, helpers_wanted;
    struct top_counters counters;
};

struct top_process {
    const char *kind; /* "worker", "spawner" or "master" */
    uint64_t number, pid, connections, cpu_us;
};

struct top_sample {
    char *verdict, *why, *version; /* own */
    int64_t since;                 /* of the verdict, as time(2) */
    uint64_t clock_ms;             /* of the machine, monotonic: when it was taken */
    uint64_t uptime_ms, pid, generation, leaving, connections;
    uint64_t bounds_us[TOP_BUCKETS_MAX]; /* upper ones, of the buckets; the last bucket has none */
    size_t n_buckets;
    struct top_service *services; /* own */
    size_t n_services;
    struct top_process *processes; /* own */
    size_t n_processes;
};

/* 0; or -EPROTO when TEXT is no status, or -ENOMEM. */
int top_sample_parse(const char *text, size_t len, struct top_sample *ret);
/* All zero is fine. */
void top_sample_done(struct top_sample *s);

#endif
