/* The table of handlers; see handlers.h. */
#include "handler/handlers.h"

#include "handler/builtin.h"
#include "handler/helper.h"
#include "handler/plugin.h"
#include "handler/program.h"

#include <assert.h>

const struct handler *handlers_find(enum handler_kind kind)
{
    static const struct handler *const table[] = {
        [HANDLER_ECHO] = &builtin_echo,       [HANDLER_DISCARD] = &builtin_discard,
        [HANDLER_DAYTIME] = &builtin_daytime, [HANDLER_HELPER] = &helper_handler,
        [HANDLER_PLUGIN] = &plugin_handler,   [HANDLER_PROGRAM] = &program_handler,
    };

    assert((size_t)kind < sizeof table / sizeof *table && table[kind]);
    return table[kind];
}
