/* What sockctl says on standard error. A line is written in one piece, so that it stays whole beside others'
 * output. */
#include "client/say.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_quiet;

void say_set_quiet(bool quiet)
{
    is_quiet = quiet;
}

__attribute__((format(printf, 1, 0))) static void print_line(const char *format, va_list args,
                                                             const char *help)
{
    char raw[1024], safe[2048];
    int len = vsnprintf(raw, sizeof(raw), format, args);

    if (len < 0)
        return;
    text_make_safe(safe, sizeof(safe), raw, (size_t)len < sizeof(raw) ? (size_t)len : sizeof(raw) - 1);
    fprintf(stderr, "sockctl: %s%s%s\n", safe, help[0] && safe[strlen(safe) - 1] != '?' ? ";" : "", help);
}

void say(const char *format, ...)
{
    va_list args;

    if (is_quiet)
        return;
    va_start(args, format);
    print_line(format, args, "");
    va_end(args);
}

int say_misuse(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line(format, args, " see sockctl --help");
    va_end(args);
    return EXIT_MISUSED;
}
