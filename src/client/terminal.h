/*
 * The terminal as a screen: the alternate one, without a cursor, keys as they are typed, signals as events.
 * What was before comes back at terminal_close(), and while the program is suspended.
 */
#ifndef SOCKD_CLIENT_TERMINAL_H
#define SOCKD_CLIENT_TERMINAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct terminal {
    int signal_fd; /* owns; INT, QUIT, TERM, HUP, TSTP, CONT, WINCH and PIPE */
    sigset_t old_mask;
    struct termios saved;
    bool is_entered;
};

/* Standard input and output are terminals that understand more than lines. */
bool terminal_is_there(void);

/* 0 or -errno, and then all is as it was. */
int terminal_open(struct terminal *ret);
void terminal_close(struct terminal *t);

/* The next signal that came, 0: none. What stops and continues is done here already; it comes all the same,
 * since the screen must then be drawn anew. */
int terminal_signal(struct terminal *t);

/* As terminal_close(), then dies of SIGNAL as if it had never been held back. */
void terminal_die(struct terminal *t, int signal);

/* Columns and rows; 80 and 24 where the terminal does not say. */
void terminal_size(unsigned *ret_width, unsigned *ret_height);

/* 0 or -errno. */
int terminal_write(const char *data, size_t len);

#endif
