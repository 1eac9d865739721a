/* Standard output: replies as text, as they are, or in hexadecimal. Buffered; print_flush() says whether all
 * that was printed went well. */
#ifndef SOCKD_CLIENT_PRINT_H
#define SOCKD_CLIENT_PRINT_H

#include "client/options.h"
#include "client/target.h"

#include <stdbool.h>
#include <stddef.h>

struct print {
    bool hex;
    bool closes_lines; /* a reply that does not end with LF gets one */
    bool is_line;      /* a reply is a line: it gets its LF back in any case */
    bool in_line;      /* what was printed last did not end with LF */
};

void print_init(struct print *ret, const struct options *o, const struct target *t);
/* A whole reply. */
void print_reply(struct print *p, const char *data, size_t len);
/* A piece of one; print_end() follows the last. */
void print_piece(struct print *p, const char *data, size_t len);
void print_end(struct print *p);
/* Whoever printed it; also of what left the buffer before. 0, or an exit status after saying why. */
int print_flush(void);

#endif
