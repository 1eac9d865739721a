/*
 * Any state that is handed over in an upgrade. Holds that what is taken prints to a text that is taken again
 * and prints to the same, and that what is refused is refused with a reason.
 */
#include "upgrade_state.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* NULL when it is refused; the caller frees it. */
static char *there_and_back(const char *text, size_t len)
{
    struct upgrade_state state;
    char why[UPGRADE_WHY_MAX] = "", *copy = malloc(len + 1), *again = NULL;
    size_t again_len;

    assert(copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    int r = upgrade_state_read(copy, len, &state, why);
    free(copy);
    assert(r == 0 || *why);
    if (r < 0)
        return NULL;
    FILE *out = open_memstream(&again, &again_len);
    assert(out);
    upgrade_state_print(&state, out);
    r = fclose(out);
    assert(r == 0);
    upgrade_state_done(&state);
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *once = there_and_back((const char *)data, size);

    if (once) {
        char *twice = there_and_back(once, strlen(once));
        assert(twice && strcmp(once, twice) == 0);
        free(twice);
    }
    free(once);
    return 0;
}
