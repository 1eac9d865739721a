/* The words of a control line, as a pure function, so that a fuzzer can hold it to its promises. */
#include "control.h"

#include <errno.h>
#include <string.h>

/* The next word at *AT, which moves behind it; NULL at the end. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " ");

    if (*word == '\0')
        return NULL;
    *at = word + strcspn(word, " ");
    if (**at == ' ')
        *(*at)++ = '\0';
    return word;
}

int control_parse(char *text, size_t len, struct control_line *ret)
{
    struct control_line line = { 0 };

    if (len > 0 && text[len - 1] == '\r')
        len--;
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return -EINVAL;
    text[len] = '\0';

    line.command = next_word(&text);
    if (!line.command)
        return -EINVAL;
    for (char *word; (word = next_word(&text));) {
        if (!line.json && line.n_args == 0 && strcmp(word, CONTROL_JSON) == 0) {
            line.json = true;
            continue;
        }
        if (line.n_args == CONTROL_ARGS_MAX)
            return -EINVAL;
        line.arg[line.n_args++] = word;
    }
    *ret = line;
    return 0;
}
