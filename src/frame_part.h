/* What frame.c, which finds messages, and frame_dress.c, which dresses them, share. */
#ifndef SOCKD_FRAME_PART_H
#define SOCKD_FRAME_PART_H

#include "frame.h"

/* The common way, a whole line, saves no registers for the others. */
#define APART __attribute__((noinline))

/* By enum frame_int. */
struct frame_integer {
    uint8_t size; /* in bytes; 0: as many as it needs */
    bool little;
};
extern const struct frame_integer frame_integers[];

/*
 * Looks for an empty line from FROM on, which is 0 or no line's start. Returns the bytes of its end (1: LF,
 * 2: CR LF, 0: there is none yet); *RET_AT is where it begins or, with none, may begin at the earliest.
 */
size_t frame_empty_line(const char *data, size_t len, size_t from, size_t *ret_at);

#endif
