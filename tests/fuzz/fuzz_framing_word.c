/*
 * Any text as a framing. Holds that what is read is printed to a text that is read to the same, that its
 * print is a fixed point, and that what is refused gets a reason that fits on a line.
 */
#include "frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct framing f, again;
    const char *why = NULL;
    char printed[FRAME_TEXT_MAX], reprinted[FRAME_TEXT_MAX];
    char *text = malloc(size + 1);
    assert(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    int r = frame_parse(text, &f, &why);
    free(text);
    if (r < 0) {
        assert(why && *why && strlen(why) < 256);
        return 0;
    }
    frame_print(printed, &f);
    assert(strlen(printed) < sizeof(printed));
    r = frame_parse(printed, &again, &why);
    assert(r == 0);
    assert(frame_equal(&f, &again));
    assert(strcmp(frame_print(reprinted, &again), printed) == 0);
    return 0;
}
