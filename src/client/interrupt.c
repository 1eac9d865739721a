/* Catching an interrupt; see interrupt.h. */
#include "client/interrupt.h"

#include <stddef.h>

volatile sig_atomic_t interrupt_seen;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupt_seen = 1;
}

void interrupt_catch(int signal)
{
    struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };

    sigaction(signal, &action, NULL);
}
