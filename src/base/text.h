/* Words, numbers and escapes as people write them, and texts that are printed. Pure: no input, no output, no
 * log. */
#ifndef SOCKD_BASE_TEXT_H
#define SOCKD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* "250ms", "30s", "5m", "2h", "1d", or seconds; 0 or -EINVAL, -ERANGE. */
int text_parse_time(const char *text, uint64_t *ret_ms);
/* "64k", "1m", "2g" (of 1024) or bytes; 0 or -EINVAL, -ERANGE. */
int text_parse_size(const char *text, uint64_t *ret_bytes);
/* A whole number in decimal, nothing else around it; 0 or -EINVAL, -ERANGE (outside LO..HI). */
int text_parse_int(const char *text, int64_t lo, int64_t hi, int64_t *ret);

/* The longest text of text_print_time and text_print_size, with its NUL. */
#define TEXT_NUMBER_MAX 32
/* Prints with the largest unit that divides the value; what it prints, text_parse_* reads. Returns BUF. */
char *text_print_time(char buf[TEXT_NUMBER_MAX], uint64_t ms);
char *text_print_size(char buf[TEXT_NUMBER_MAX], uint64_t bytes);
/* For reading only: "0.12 s", "4.8 s", "3 min", "2 h 5 min". Returns BUF. */
char *text_print_duration(char buf[TEXT_NUMBER_MAX], uint64_t ms);
/* In local time: "02:11", with the date when that is not the day of NOW. Returns BUF. */
char *text_print_moment(char buf[TEXT_NUMBER_MAX], time_t when, time_t now);

/*
 * Reads C escapes: \n \r \t \0 \a \b \e \f \v \\ \" \' \xHH and up to three octal digits. RET has room for
 * strlen(TEXT) bytes. Returns the number of bytes, which may hold NUL, or -EINVAL at an unknown or unfinished
 * escape.
 */
int text_unescape(const char *text, char *ret);

/*
 * Prints LEN bytes of a stranger so that they fit on one line of a log: printable ASCII and valid UTF-8 as
 * they are; the backslash doubled; control bytes, invalid UTF-8, and characters that reorder or hide text
 * (C1, bidirectional marks, line separators) as \n, \r, \t, \0 or \xHH for each byte. Ends with "..." where
 * RET is too small. Always NUL-terminated; returns the length.
 */
size_t text_escape(char *ret, size_t size, const void *data, size_t len);
/* As text_escape, but leaves the backslash alone: for text of ours that may hold a stranger's. */
size_t text_make_safe(char *ret, size_t size, const void *data, size_t len);

/*
 * The end of what is printed to OUT, which is of open_memstream(3) and into *TEXT, and is closed: returns the
 * text, which the caller frees; NULL, also in *TEXT, when there was not memory for all of it.
 */
char *text_close(FILE *out, char **text);

/* The word of the NULL-terminated WORDS that is so near to TEXT that it may be meant; NULL when none is. */
const char *text_suggest(const char *text, const char *const *words);

#endif
