/* Replies on standard output. */
#include "client/print.h"

#include "client/say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void print_init(struct print *ret, const struct options *o, const struct target *t)
{
    bool is_line = t->framing.kind == FRAME_LINE;

    *ret = (struct print){
        .hex = o->hex,
        .is_line = is_line && !t->datagrams,
        .closes_lines = is_line || isatty(STDOUT_FILENO),
    };
}

void print_piece(struct print *p, const char *data, size_t len)
{
    if (len == 0)
        return;
    if (p->hex) {
        for (size_t i = 0; i < len; i++)
            printf("%02x", (unsigned char)data[i]);
        p->in_line = true;
        return;
    }
    fwrite(data, 1, len, stdout);
    p->in_line = data[len - 1] != '\n';
}

void print_end(struct print *p)
{
    if (p->hex || p->is_line || (p->closes_lines && p->in_line))
        putchar('\n');
    p->in_line = false;
}

void print_reply(struct print *p, const char *data, size_t len)
{
    p->in_line = true; /* an empty reply is an empty line */
    print_piece(p, data, len);
    print_end(p);
}

int print_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_WELL;
    say("cannot write to standard output: %s", strerror(errno));
    return EXIT_REFUSED;
}
