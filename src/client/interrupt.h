/* An interrupt that ends what is measured, and not the process that has something to say of it. */
#ifndef SOCKD_CLIENT_INTERRUPT_H
#define SOCKD_CLIENT_INTERRUPT_H

#include <signal.h>

/* True once a signal that is caught has come. */
extern volatile sig_atomic_t interrupt_seen;

/* The first SIGNAL sets `interrupt_seen`, a second one ends the process. */
void interrupt_catch(int signal);

#endif
