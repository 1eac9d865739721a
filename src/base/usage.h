/* What the kernel knows of a process: the processor time that it took, and its age. Never logs. */
#ifndef SOCKD_BASE_USAGE_H
#define SOCKD_BASE_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* Of all its threads, in microseconds; 0 when there is no such process. */
uint64_t usage_cpu_us(pid_t pid);

/* How long this process has existed, whatever programs it has been; 0 where /proc does not say. */
uint64_t usage_age_ms(void);
/* The start of a process, in ticks after that of the machine, from the text of its /proc/PID/stat; 0 for
 * nonsense. */
uint64_t usage_parse_start(const char *text);

#endif
