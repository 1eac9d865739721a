/*
 * How people write times, sizes and bytes, and how a stranger's bytes are shown to them; used everywhere.
 *
 * Pure. It knows ASCII and UTF-8 and no locale. What a function here prints for a machine, its counterpart
 * reads back; what it prints of a stranger has no byte that could end a line, move a cursor or reorder text.
 */
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* From the largest; the empty name is a number without a unit. */
static const struct unit time_units[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 },
    { "", 1000 },      { "ms", 1 },      { NULL, 0 },
};
static const struct unit size_units[] = {
    { "g", 1 << 30 }, { "m", 1 << 20 }, { "k", 1 << 10 }, { "", 1 }, { NULL, 0 },
};

/* Reads digits, at least one; *RET_END is behind the last. */
static int parse_digits(const char *text, const char **ret_end, uint64_t *ret)
{
    uint64_t value = 0;
    const char *p = text;
    bool fits = true;

    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            fits = false;
    if (p == text)
        return -EINVAL;
    *ret_end = p;
    *ret = value;
    return fits ? 0 : -ERANGE;
}

static int parse_with_unit(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t value, result;
    const char *name;
    int r = parse_digits(text, &name, &value);

    if (r == -EINVAL)
        return r;
    while (units->name && strcmp(units->name, name) != 0)
        units++;
    if (!units->name)
        return -EINVAL;
    if (r < 0 || __builtin_mul_overflow(value, units->factor, &result))
        return -ERANGE;
    *ret = result;
    return 0;
}

static char *print_with_unit(char buf[TEXT_NUMBER_MAX], const struct unit *units, uint64_t value)
{
    if (value == 0)
        return strcpy(buf, "0");
    while (value % units->factor != 0)
        units++;
    snprintf(buf, TEXT_NUMBER_MAX, "%llu%s", (unsigned long long)(value / units->factor), units->name);
    return buf;
}

int text_parse_time(const char *text, uint64_t *ret_ms)
{
    return parse_with_unit(text, time_units, ret_ms);
}

int text_parse_size(const char *text, uint64_t *ret_bytes)
{
    return parse_with_unit(text, size_units, ret_bytes);
}

int text_parse_int(const char *text, int64_t lo, int64_t hi, int64_t *ret)
{
    bool negative = *text == '-';
    uint64_t size, most = (uint64_t)INT64_MAX + negative;
    const char *end;
    int64_t value;
    int r = parse_digits(text + negative, &end, &size);

    if (r == -EINVAL || *end != '\0')
        return -EINVAL;
    if (r < 0 || size > most)
        return -ERANGE;
    value = negative ? (int64_t)(0 - size) : (int64_t)size;
    if (value < lo || value > hi)
        return -ERANGE;
    *ret = value;
    return 0;
}

char *text_print_time(char buf[TEXT_NUMBER_MAX], uint64_t ms)
{
    return print_with_unit(buf, time_units, ms);
}

char *text_print_size(char buf[TEXT_NUMBER_MAX], uint64_t bytes)
{
    return print_with_unit(buf, size_units, bytes);
}

/* "2 h 5 min", or "2 h". */
static char *print_two(char *buf, uint64_t whole, const char *unit, unsigned rest, const char *rest_unit)
{
    int n = snprintf(buf, TEXT_NUMBER_MAX, "%llu %s", (unsigned long long)whole, unit);

    if (rest > 0)
        snprintf(buf + n, TEXT_NUMBER_MAX - (size_t)n, " %u %s", rest, rest_unit);
    return buf;
}

char *text_print_duration(char buf[TEXT_NUMBER_MAX], uint64_t ms)
{
    uint64_t min = ms / 60000;
    unsigned part = (unsigned)(ms % 1000), s = (unsigned)(ms / 1000 % 1000);

    if (ms >= 48 * 3600000ull)
        return print_two(buf, min / 1440, "d", (unsigned)(min / 60 % 24), "h");
    if (ms >= 3600000)
        return print_two(buf, min / 60, "h", (unsigned)(min % 60), "min");
    if (ms >= 120000)
        return print_two(buf, min, "min", 0, "");
    if (ms >= 10000 || ms == 0)
        return print_two(buf, s, "s", 0, "");
    if (ms >= 1000)
        snprintf(buf, TEXT_NUMBER_MAX, "%u.%u s", s, part / 100);
    else if (ms >= 10)
        snprintf(buf, TEXT_NUMBER_MAX, "0.%02u s", part / 10);
    else
        snprintf(buf, TEXT_NUMBER_MAX, "0.%03u s", part);
    return buf;
}

char *text_print_moment(char buf[TEXT_NUMBER_MAX], time_t when, time_t now)
{
    struct tm then, today;

    localtime_r(&when, &then);
    localtime_r(&now, &today);
    bool is_today = then.tm_yday == today.tm_yday && then.tm_year == today.tm_year;
    strftime(buf, TEXT_NUMBER_MAX, is_today ? "%H:%M" : "%F %H:%M", &then);
    return buf;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Up to three octal digits at *TEXT; -EINVAL for none, or for more than a byte. */
static int unescape_octal(const char **text)
{
    int value = 0, n;

    for (n = 0; n < 3 && **text >= '0' && **text <= '7'; n++)
        value = value * 8 + (*(*text)++ - '0');
    return n > 0 && value <= 0xff ? value : -EINVAL;
}

/* The byte that the escape at *TEXT stands for, which is behind the backslash; moves behind it. */
static int unescape_one(const char **text)
{
    static const char names[] = "nrtabefv\\\"'", bytes[] = "\n\r\t\a\b\033\f\v\\\"'";
    const char *p = *text;
    const char *name = *p ? strchr(names, *p) : NULL;

    if (name) {
        *text = p + 1;
        return bytes[name - names];
    }
    if (*p != 'x')
        return unescape_octal(text);
    if (hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
        return -EINVAL;
    *text = p + 3;
    return hex_digit(p[1]) * 16 + hex_digit(p[2]);
}

int text_unescape(const char *text, char *ret)
{
    int len = 0;

    while (*text) {
        int byte;

        if (*text != '\\') {
            ret[len++] = *text++;
            continue;
        }
        text++;
        byte = unescape_one(&text);
        if (byte < 0)
            return byte;
        ret[len++] = (char)byte;
    }
    return len;
}

/* What a terminal would obey, or would show in another order or not at all. From the lowest. */
static const struct {
    uint32_t first, last;
} hidden[] = {
    { 0x0000, 0x001f },   /* control characters, C0 */
    { 0x007f, 0x009f },   /* DEL and C1 */
    { 0x00ad, 0x00ad },   /* soft hyphen */
    { 0x061c, 0x061c },   /* Arabic letter mark */
    { 0x180e, 0x180e },   /* Mongolian vowel separator */
    { 0x200b, 0x200f },   /* without width, left-to-right and right-to-left marks */
    { 0x2028, 0x202e },   /* line and paragraph separator, embeddings, overrides */
    { 0x2060, 0x206f },   /* word joiner, isolates, deprecated formatting */
    { 0xfeff, 0xfeff },   /* byte order mark */
    { 0xfff9, 0xfffb },   /* annotations */
    { 0xe0000, 0xe0fff }, /* tags, variation selectors */
};

static bool is_hidden(uint32_t code)
{
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]) && code >= hidden[i].first; i++)
        if (code <= hidden[i].last)
            return true;
    return false;
}

/* The length of the UTF-8 character at P (RFC 3629), its number in *RET_CODE; 0 when there is none. */
static size_t decode_utf8(const uint8_t *p, size_t len, uint32_t *ret_code)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t code;
    size_t n;

    if (p[0] < 0x80) {
        *ret_code = p[0];
        return 1;
    }
    if (p[0] < 0xc0 || p[0] >= 0xf8)
        return 0;
    n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (len < n)
        return 0;
    code = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return n;
}

/* The longest that one character becomes: four bytes as \xHH. */
#define UNIT_MAX 16

/* The letter behind the backslash for the byte at P, or 0. "\0" before an octal digit would read as another
 * byte. */
static char short_escape(const uint8_t *p, size_t len)
{
    switch (p[0]) {
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\\':
        return '\\';
    case '\0':
        return len > 1 && p[1] >= '0' && p[1] <= '7' ? 0 : '0';
    default:
        return 0;
    }
}

/* Prints the character at P to OUT, without a NUL. The length; *RET_USED is what it took. */
static size_t escape_one(char out[UNIT_MAX], const uint8_t *p, size_t len, bool backslash, size_t *ret_used)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t code = 0;
    size_t used = decode_utf8(p, len, &code), n = 0;

    *ret_used = used > 0 ? used : 1;
    if (used > 0 && !is_hidden(code) && !(backslash && code == '\\')) {
        memcpy(out, p, used);
        return used;
    }
    out[1] = short_escape(p, len);
    if (out[1] != 0) {
        out[0] = '\\';
        return 2;
    }
    for (size_t i = 0; i < *ret_used; i++) {
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = digits[p[i] >> 4];
        out[n++] = digits[p[i] & 15];
    }
    return n;
}

static size_t escape(char *ret, size_t size, const uint8_t *p, size_t len, bool backslash)
{
    size_t n = 0, cut = 0; /* CUT: the last end of a character behind which "..." still fits */

    if (size == 0)
        return 0;
    while (len > 0) {
        char unit[UNIT_MAX];
        size_t used, unit_len = escape_one(unit, p, len, backslash, &used);

        if (n + 3 < size)
            cut = n;
        if (unit_len >= size - n) {
            for (n = cut; n < cut + 3 && n + 1 < size; n++)
                ret[n] = '.';
            break;
        }
        memcpy(ret + n, unit, unit_len);
        n += unit_len;
        p += used;
        len -= used;
    }
    ret[n] = '\0';
    return n;
}

size_t text_escape(char *ret, size_t size, const void *data, size_t len)
{
    return escape(ret, size, data, len, true);
}

size_t text_make_safe(char *ret, size_t size, const void *data, size_t len)
{
    return escape(ret, size, data, len, false);
}

/* The longest word that is looked at. */
#define WORD_MAX 64

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many characters to add, drop, change or swap with their neighbour (Damerau, Levenshtein) make B of A.
 */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned rows[3][WORD_MAX + 1] = { 0 };
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b_len; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *spare = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(row[j], least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[b_len];
}

/* The only word that begins with TEXT. */
static const char *suggest_by_prefix(const char *text, size_t len, const char *const *words)
{
    const char *found = NULL;

    for (; *words; words++) {
        if (strncmp(*words, text, len) != 0)
            continue;
        if (found)
            return NULL;
        found = *words;
    }
    return found;
}

const char *text_suggest(const char *text, const char *const *words)
{
    size_t len = strnlen(text, WORD_MAX + 1);
    const char *best = NULL;
    unsigned best_distance = 3;

    if (len > WORD_MAX)
        return NULL;
    for (size_t i = 0; words[i]; i++) {
        size_t word_len = strnlen(words[i], WORD_MAX + 1);
        unsigned d = word_len > WORD_MAX ? 3 : distance(text, len, words[i], word_len);

        if (d < best_distance && 2 * d < len) {
            best = words[i];
            best_distance = d;
        }
    }
    if (!best && len >= 3)
        best = suggest_by_prefix(text, len, words);
    return best;
}

char *text_close(FILE *out, char **text)
{
    if (fclose(out) != 0) {
        free(*text);
        *text = NULL;
    }
    return *text;
}
