/*
 * The framings, as rows: each stream is fed whole, byte by byte, and cut at every position, and must give the
 * same messages. Section E of FAULTS.md is all here but for datagrams.
 *
 * What a stream gave is told as text: (message) for one that ended in LF or needs no end, (message)~ for CR
 * LF, (message)$ for one that ended with the input; then "more" when the last one is unfinished, "long" or
 * "bad".
 */
#include "frame.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(s) (s), sizeof(s) - 1

static struct framing framing(const char *word)
{
    struct framing f;
    const char *why = "";
    if (frame_parse(word, &f, &why) < 0)
        fail_msg("\"%s\" %s", word, why);
    return f;
}

/* Looks at a copy that has exactly LEN bytes, so that a sanitizer sees any step beyond. */
static enum frame_result next_of_copy(const struct framing *f, struct frame_scan *scan, const char *data,
                                      size_t len, size_t max, bool end, struct frame_message *ret)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    const struct frame_input in = { f, scan, copy, len, max, end };
    enum frame_result r = frame_next(&in, ret);
    free(copy);
    return r;
}

/* A connection as a worker has it: what has arrived of a stream, and what it gave. */
struct feed {
    const struct framing *f;
    const char *stream;
    size_t taken; /* bytes of it that were messages */
    size_t max;
    struct frame_scan scan;
    bool over;
    char told[4096];
};

static void tell(struct feed *feed, const char *data, size_t len, const char *mark)
{
    char *p = feed->told + strlen(feed->told);
    p += sprintf(p, "(");
    for (size_t i = 0; i < len; i++)
        p += sprintf(p, data[i] >= ' ' && data[i] <= '~' ? "%c" : "\\%02x", (unsigned char)data[i]);
    sprintf(p, ")%s", mark);
}

/* LEN bytes of the stream have arrived. */
static void arrive(struct feed *feed, size_t len, bool end)
{
    static const char *const marks[] = {
        [FRAME_END_LF] = "", [FRAME_END_CRLF] = "~", [FRAME_END_NONE] = "$"
    };
    while (!feed->over) {
        const char *data = feed->stream + feed->taken;
        size_t rest = len - feed->taken;
        struct frame_message m;
        enum frame_result r = next_of_copy(feed->f, &feed->scan, data, rest, feed->max, end, &m);
        if (r == FRAME_MORE) {
            assert_true(!end || rest == 0);
            assert_true(m.frame_len == 0 || m.frame_len > rest);
            return;
        }
        feed->over = r != FRAME_MESSAGE;
        if (feed->over) {
            strcat(feed->told, r == FRAME_TOO_LONG ? "long" : "bad");
            return;
        }
        assert_true(m.frame_len > 0 && m.frame_len <= rest && m.start + m.len <= m.frame_len);
        tell(feed, data + m.start, m.len, marks[m.end]);
        feed->taken += m.frame_len;
        feed->scan = (struct frame_scan){ 0 };
    }
}

static void finish(struct feed *feed, size_t len, bool end)
{
    arrive(feed, len, end);
    if (!feed->over && !end && feed->taken < len)
        strcat(feed->told, "more");
}

struct row {
    const char *word;
    size_t max;
    const char *stream;
    size_t len;
    const char *told;
    bool open; /* the input does not end */
};

static void check(const struct row *row, const struct feed *feed, const char *how, size_t at)
{
    if (strcmp(feed->told, row->told) != 0)
        fail_msg("%s, max %zu, \"%s\", %s %zu: gave %s, not %s", row->word, row->max, row->stream, how, at,
                 feed->told, row->told);
}

static void run_row(const struct row *row)
{
    struct framing f = framing(row->word);
    const struct feed fresh = { .f = &f, .stream = row->stream, .max = row->max };

    for (size_t cut = 0; cut <= row->len; cut++) { /* 0: whole */
        struct feed feed = fresh;
        arrive(&feed, cut, false);
        finish(&feed, row->len, !row->open);
        check(row, &feed, "cut at", cut);
    }
    struct feed feed = fresh;
    for (size_t len = 1; len <= row->len; len++)
        arrive(&feed, len, false);
    finish(&feed, row->len, !row->open);
    check(row, &feed, "byte by byte", 0);
}

#define RUN(rows)                                                 \
    for (size_t i = 0; i < sizeof(rows) / sizeof((rows)[0]); i++) \
    run_row(&(rows)[i])

static void test_line_keeps_each_terminator_and_every_other_byte(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "line", 99, BYTES("a\nb\r\nc"), "(a)(b)~(c)$", false },
        { "line", 99, BYTES("a\nb\r\nc"), "(a)(b)~more", true },
        { "line", 99, BYTES("I am your hero!!!"), "(I am your hero!!!)$", false },
        { "line", 99, BYTES("\n\r\n\n"), "()()~()", false },
        { "line", 99, BYTES(""), "", false },
        { "line", 99, BYTES("\n"), "()", true },
        { "line", 99, BYTES("a\rb\r\r\n"), "(a\\0db\\0d)~", false },
        { "line", 99, BYTES("\r"), "(\\0d)$", false },
        { "line", 99, BYTES("ab\r"), "(ab\\0d)$", false },
        { "line", 99, BYTES("ab\r"), "more", true },
        { "line", 99, BYTES("\ra\n"), "(\\0da)", false },
        { "line", 99, BYTES("a\0b\n\0\n"), "(a\\00b)(\\00)", false },
        { "line", 99, BYTES("\xff\xc0\x80\n"), "(\\ff\\c0\\80)", false },
    };
    RUN(rows);
}

static void test_line_is_bounded_by_its_text(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "line", 3, BYTES("abc\nabc\r\nabc"), "(abc)(abc)~(abc)$", false },
        { "line", 3, BYTES("a\nabcd\n"), "(a)long", false },
        { "line", 3, BYTES("abcd\r\n"), "long", false },
        { "line", 3, BYTES("abcd"), "long", false },
        { "line", 3, BYTES("abcd"), "long", true },
        { "line", 3, BYTES("abc"), "more", true },
        { "line", 3, BYTES("abc\r"), "more", true },
        { "line", 3, BYTES("abc\r"), "long", false },
        { "line", 3, BYTES("abc\rd"), "long", true },
        { "line", 3, BYTES("abc\r\r\n"), "long", true },
        { "line", 0, BYTES("\n\r\na\n"), "()()~long", false },
        { "line", SIZE_MAX, BYTES("abc\n"), "(abc)", false },
    };
    RUN(rows);
}

static void test_delimiter_is_found_across_cuts(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "delimiter:\\0", 99, BYTES("{}\0\0x"), "({})()(x)", false },
        { "delimiter:\\0", 3, BYTES("abc\0abcd\0"), "(abc)long", false },
        { "delimiter:\\0", 3, BYTES("abc"), "more", true },
        { "delimiter:\\r\\n.\\r\\n", 99, BYTES("a\r\n.\r\nb\r\n.\r.\r\n.\r\n"), "(a)(b\\0d\\0a.\\0d.)",
          false },
        { "delimiter:\\r\\n.\\r\\n", 99, BYTES("a\r\n."), "(a\\0d\\0a.)", false },
        { "delimiter:\\r\\n.\\r\\n", 1, BYTES("a\r\n.\r"), "more", true },
        { "delimiter:\\r\\n.\\r\\n", 1, BYTES("a\r\n.\r"), "long", false },
        { "delimiter:\\r\\n.\\r\\n", 1, BYTES("a\r\n.\n"), "long", true },
        { "delimiter:\\r\\n.\\r\\n", 1, BYTES("ab"), "long", true },
        { "delimiter:aab", 99, BYTES("aaab"), "(a)", false },
        { "delimiter:aab", 1, BYTES("aaa"), "more", true },
        { "delimiter:aab", 1, BYTES("aaaa"), "long", true },
        { "delimiter:0123456789abcdef", 99, BYTES("x0123456789abcdef"), "(x)", false },
    };
    RUN(rows);
}

static void test_block_ends_at_an_empty_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "block", 99, BYTES("a=1\nb=2\n\nc=3\r\n\r\n"), "(a=1\\0ab=2\\0a)(c=3\\0d\\0a)~", false },
        { "block", 99, BYTES("\n\r\n\n"), "()()~()", false },
        { "block", 99, BYTES("a\n\r\nb\r\n\n"), "(a\\0a)~(b\\0d\\0a)", false },
        { "block", 99, BYTES("a\n\rb\n\n"), "(a\\0a\\0db\\0a)", false },
        { "block", 99, BYTES("\rb\n\n"), "(\\0db\\0a)", false },
        { "block", 99, BYTES("\r\r\n\n"), "(\\0d\\0d\\0a)", false },
        { "block", 99, BYTES("a\0\n\n"), "(a\\00\\0a)", false },
        { "block", 99, BYTES("a\n"), "more", true },
        { "block", 99, BYTES("a\n\r"), "more", true },
        { "block", 99, BYTES("a\n"), "bad", false },
        { "block", 99, BYTES("a\n\r"), "bad", false },
        { "block", 99, BYTES("\r"), "bad", false },
        { "block", 99, BYTES(""), "", false },
        { "block", 2, BYTES("a\n\nb\n\r\nab\n\n"), "(a\\0a)(b\\0a)~long", false },
        { "block", 2, BYTES("a\n\r"), "more", true },
        { "block", 2, BYTES("a\n\rb"), "long", true },
        { "block", 2, BYTES("ab"), "more", true },
        { "block", 2, BYTES("abc"), "long", true },
        { "block", 0, BYTES("\r\n\r"), "()~more", true },
    };
    RUN(rows);
}

static void test_netstring_is_strict(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "netstring", 99, BYTES("3:abc,0:,4:1:a,,"), "(abc)()(1:a,)", false },
        { "netstring", 99, BYTES("3:abc"), "more", true },
        { "netstring", 99, BYTES("3:abc"), "bad", false },
        { "netstring", 99, BYTES("3"), "bad", false },
        { "netstring", 99, BYTES("3:abcd"), "bad", true },
        { "netstring", 99, BYTES("3;abc,"), "bad", true },
        { "netstring", 99, BYTES("03:abc,"), "bad", true },
        { "netstring", 99, BYTES("00:,"), "bad", true },
        { "netstring", 99, BYTES(":,"), "bad", true },
        { "netstring", 99, BYTES(" 3:abc,"), "bad", true },
        { "netstring", 99, BYTES("3 :abc,"), "bad", true },
        { "netstring", 99, BYTES("-1:,"), "bad", true },
        { "netstring", 99, BYTES("+3:abc,"), "bad", true },
        { "netstring", 3, BYTES("3:abc,4:abcd,"), "(abc)long", false },
        { "netstring", 3, BYTES("4"), "long", true },
        { "netstring", 99, BYTES("99999999999999999999:"), "long", true },
        { "netstring", SIZE_MAX, BYTES("18446744073709551616:"), "long", true },
        { "netstring", SIZE_MAX, BYTES("18446744073709551615:"), "long", true },
        { "netstring", 0, BYTES("0:,1"), "()long", true },
    };
    RUN(rows);
}

static void test_length_reads_every_integer(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "length:u8", 255, BYTES("\3abc\0\1x"), "(abc)()(x)", false },
        { "length:u16be", 99, BYTES("\0\3abc\0\0"), "(abc)()", false },
        { "length:u16le", 99, BYTES("\3\0abc"), "(abc)", false },
        { "length:u24be", 99, BYTES("\0\0\3abc"), "(abc)", false },
        { "length:u32be", 99, BYTES("\0\0\0\3abc"), "(abc)", false },
        { "length:u32le", 99, BYTES("\3\0\0\0abc"), "(abc)", false },
        { "length:u64be", 99, BYTES("\0\0\0\0\0\0\0\3abc"), "(abc)", false },
        { "length:u64le", 99, BYTES("\3\0\0\0\0\0\0\0abc"), "(abc)", false },
        { "length:varint", 99, BYTES("\3abc\0\203\0xyz"), "(abc)()(xyz)", false },
        { "length:u16be", 3, BYTES("\0\3abc\0\4abcd"), "(abc)long", false },
        { "length:u16be", 3, BYTES("\0\4"), "long", true },
        { "length:u16be", 99, BYTES("\0\3ab"), "more", true },
        { "length:u16be", 99, BYTES("\0\3ab"), "bad", false },
        { "length:u16be", 99, BYTES("\0\3"), "bad", false },
        { "length:u16be", 99, BYTES("\0"), "bad", false },
        { "length:u32be", 99, BYTES("\xff\xff\xff\xff"), "long", true },
        { "length:u32le", 99, BYTES("\xff\xff\xff\xff"), "long", true },
        { "length:u32be", 99, BYTES("\x80\0\0\0"), "long", true },
        { "length:u64be", SIZE_MAX, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), "long", true },
        { "length:u64le", SIZE_MAX, BYTES("\0\0\0\0\0\0\0\x80"), "long", true },
        { "length:varint", 99, BYTES("\xe3\0"), "more", true },
        { "length:varint", 99, BYTES("\xe4\0"), "long", true },
        { "length:varint", SIZE_MAX, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), "long", true },
        { "length:varint", 99, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\2"), "bad", true },
        { "length:varint", 99, BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"), "bad", true },
        { "length:varint", 99, BYTES("\x80"), "more", true },
        { "length:varint", 99, BYTES("\x80"), "bad", false },
    };
    RUN(rows);
}

static void test_length_offset_adjust_and_whole(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "length:u16be,offset=4", 99, BYTES("\1\2\0\0\0\3\21ab\0\0\0\0\0\0"),
          "(\\01\\02\\00\\00\\00\\03\\11ab)(\\00\\00\\00\\00\\00\\00)", false },
        { "length:u16be,offset=4", 9, BYTES("\1\2\0\0\0\3abc"), "(\\01\\02\\00\\00\\00\\03abc)", false },
        { "length:u16be,offset=4", 8, BYTES("\1\2\0\0\0\3"), "long", true },
        { "length:u16be,offset=4", 8, BYTES("\1\2\0\0\0"), "more", true },
        { "length:u16be,offset=4", 8, BYTES("\1\2\0\0\0"), "bad", false },
        { "length:u8,offset=0", 99, BYTES("\2ab\0"), "(\\02ab)(\\00)", false },
        { "length:u64be,offset=1", SIZE_MAX, BYTES("x\xff\xff\xff\xff\xff\xff\xff\xff"), "long", true },
        { "length:u8,adjust=2", 99, BYTES("\1abc"), "(abc)", false },
        { "length:u8,adjust=-2", 99, BYTES("\5abc\2"), "(abc)()", false },
        { "length:u8,adjust=-2", 99, BYTES("\1"), "bad", true },
        { "length:u8,adjust=2", 2, BYTES("\1"), "long", true },
        { "length:u64be,adjust=1", SIZE_MAX, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), "long", true },
        { "length:u32be,whole", 99, BYTES("\0\0\0\7abc\0\0\0\4"), "(abc)()", false },
        { "length:u32be,whole", 99, BYTES("\0\0\0\3"), "bad", true },
        { "length:u32be,whole", 3, BYTES("\0\0\0\7abc\0\0\0\10"), "(abc)long", false },
        { "length:u8,adjust=1,whole", 99, BYTES("\3abc"), "(abc)", false },
        { "length:u8,offset=2,whole", 99, BYTES("xy\5ab"), "(xy\\05ab)", false },
        { "length:u8,offset=2,whole", 99, BYTES("xy\2"), "bad", true },
        { "length:u8,offset=2,whole,adjust=-1", 99, BYTES("xy\5a"), "(xy\\05a)", false },
        { "length:varint,offset=1", 99, BYTES("\x10\2ab"), "(\\10\\02ab)", false },
        { "length:varint,adjust=-1", 99, BYTES("\3ab\0"), "(ab)bad", false },
    };
    RUN(rows);
}

static void test_content_length_header(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "content-length", 99, BYTES("Content-Length: 3\r\n\r\nabcContent-Length: 0\r\n\r\n"), "(abc)()",
          false },
        { "content-length", 99, BYTES("A: b\r\ncontent-LENGTH:\t3 \t\r\nC:d\r\n\r\nabc"), "(abc)", false },
        { "content-length", 99, BYTES("Content-Length:3\n\nabc"), "(abc)", false },
        { "content-length", 99, BYTES("Content-Length: 003\n\r\nabc"), "(abc)", false },
        { "content-length", 99, BYTES("Content-Length: 3\r\n\r\nab"), "more", true },
        { "content-length", 99, BYTES("Content-Length: 3\r\n\r\nab"), "bad", false },
        { "content-length", 99, BYTES("Content-Length: 3\r\n"), "bad", false },
        { "content-length", 99, BYTES("Content-Le"), "more", true },
        { "content-length", 99, BYTES("\r\n"), "bad", true },
        { "content-length", 99, BYTES("A: b\r\n\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: 3\r\nContent-length: 3\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: \r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: 3 4\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: -3\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: 0x3\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length : 3\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: 3\r\n 4\r\n"), "bad", true },
        { "content-length", 99, BYTES("no colon\r\n"), "bad", true },
        { "content-length", 99, BYTES(": 3\r\n"), "bad", true },
        { "content-length", 3, BYTES("Content-Length: 3\r\n\r\nabcContent-Length: 4\r\n"), "(abc)long",
          true },
        { "content-length", SIZE_MAX, BYTES("Content-Length: 99999999999999999999\r\n"), "long", true },
        { "content-length", SIZE_MAX, BYTES("Content-Length: 99999999999999999999x\r\n"), "bad", true },
        { "content-length", 99, BYTES("Content-Length: 18446744073709551619\r\n"), "long", true },
    };
    RUN(rows);
}

/* A header of LEN bytes in all, then a body of one byte. */
static char *long_header(size_t len)
{
    static const char end[] = "\nContent-Length: 1\n\nx";
    char *text = malloc(len + 2);
    assert_non_null(text);
    memset(text, 'a', len);
    text[1] = ':';
    memcpy(text + len + 1 - (sizeof(end) - 1), end, sizeof(end));
    return text;
}

static void test_content_length_header_is_bounded(void **state)
{
    (void)state;
    char *fits = long_header(FRAME_HEADER_MAX), *over = long_header(FRAME_HEADER_MAX + 1);
    struct framing f = framing("content-length");

    for (size_t cut = 0; cut <= FRAME_HEADER_MAX; cut += cut < FRAME_HEADER_MAX - 32 ? 97 : 1) {
        struct feed feed = { .f = &f, .stream = fits, .max = 1 };
        arrive(&feed, cut, false);
        arrive(&feed, FRAME_HEADER_MAX + 1, true);
        assert_string_equal(feed.told, "(x)");
        feed = (struct feed){ .f = &f, .stream = over, .max = 1 };
        arrive(&feed, cut, false);
        arrive(&feed, FRAME_HEADER_MAX + 2, true);
        assert_string_equal(feed.told, "bad");
    }
    memset(over, 'a', FRAME_HEADER_MAX);
    struct feed feed = { .f = &f, .stream = over, .max = 1 };
    arrive(&feed, FRAME_HEADER_MAX - 1, false);
    assert_string_equal(feed.told, "");
    arrive(&feed, FRAME_HEADER_MAX, false);
    assert_string_equal(feed.told, "bad");
    free(fits);
    free(over);
}

static void test_fixed_and_close(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "fixed:3", 3, BYTES("abcdef"), "(abc)(def)", false },
        { "fixed:3", 3, BYTES("abcde"), "(abc)bad", false },
        { "fixed:3", 3, BYTES("abcde"), "(abc)more", true },
        { "fixed:3", 2, BYTES("a"), "long", true },
        { "fixed:1", 1, BYTES("\0\n"), "(\\00)(\\0a)", false },
        { "close", 6, BYTES("ab\ncd\r"), "(ab\\0acd\\0d)", false },
        { "close", 6, BYTES("ab\ncd\r"), "more", true },
        { "close", 5, BYTES("ab\ncd\r"), "long", false },
        { "close", 5, BYTES("ab\ncd\r"), "long", true },
        { "close", 5, BYTES(""), "", false },
    };
    RUN(rows);
}

static void test_more_says_how_many_bytes_are_needed(void **state)
{
    (void)state;
    static const struct {
        const char *word, *data;
        size_t len, needed;
    } rows[] = {
        { "line", BYTES("abc"), 0 },
        { "netstring", BYTES("1"), 0 },
        { "netstring", BYTES("12:"), 16 },
        { "length:u16be", BYTES("\0"), 0 },
        { "length:u16be", BYTES("\0\5"), 7 },
        { "length:u16be,offset=4", BYTES("....\0\5"), 11 },
        { "content-length", BYTES("Content-Length: 5\r\n"), 0 },
        { "content-length", BYTES("Content-Length: 5\r\n\r\nab"), 26 },
        { "fixed:9", BYTES("a"), 9 },
        { "close", BYTES("a"), 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct framing f = framing(rows[i].word);
        struct frame_scan scan = { 0 };
        struct frame_message m = { .frame_len = 77 };
        assert_int_equal(next_of_copy(&f, &scan, rows[i].data, rows[i].len, 99, false, &m), FRAME_MORE);
        assert_int_equal(m.frame_len, rows[i].needed);
    }
}

static void test_no_bytes_are_no_message(void **state)
{
    (void)state;
    static const char *const words[] = { "line",      "delimiter:\\0",  "block",   "netstring",
                                         "length:u8", "content-length", "fixed:3", "close" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct framing f = framing(words[i]);
        struct frame_message m = { .frame_len = 77 };
        const struct frame_input in = { &f, &(struct frame_scan){ 0 }, NULL, 0, 0, true };
        assert_int_equal(frame_next(&in, &m), FRAME_MORE);
        assert_int_equal(m.frame_len, 0);
    }
}

/* A megabyte, a byte at a time: a moment when the work is linear, half an hour when each step starts over. */
static void test_work_is_linear_however_slowly_a_message_comes(void **state)
{
    (void)state;
    static const char *const words[] = { "line", "delimiter:\\r\\n.\\r\\n", "block", "close" };
    const size_t len = 1 << 20;
    char *data = malloc(len);
    assert_non_null(data);
    memset(data, 'a', len);

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct framing f = framing(words[i]);
        struct frame_scan scan = { 0 };
        struct frame_message m;
        for (struct frame_input in = { &f, &scan, data, 1, len, false }; in.len <= len; in.len++)
            assert_true(frame_next(&in, &m) == FRAME_MORE);
        assert_true(f.kind == FRAME_CLOSE || scan.seen + FRAME_DELIMITER_MAX >= len);
    }
    free(data);
}

/* It never comes to ten gigabytes: the byte after the last allowed one ends it. */
static void test_endless_line_is_refused_at_its_first_byte_too_many(void **state)
{
    (void)state;
    struct framing f = framing("line");
    struct frame_scan scan = { 0 };
    struct frame_message m;
    static char data[65537];
    struct frame_input in = { &f, &scan, data, 65536, 65536, false };
    assert_int_equal(frame_next(&in, &m), FRAME_MORE);
    in.len++;
    assert_int_equal(frame_next(&in, &m), FRAME_TOO_LONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_keeps_each_terminator_and_every_other_byte),
        cmocka_unit_test(test_line_is_bounded_by_its_text),
        cmocka_unit_test(test_delimiter_is_found_across_cuts),
        cmocka_unit_test(test_block_ends_at_an_empty_line),
        cmocka_unit_test(test_netstring_is_strict),
        cmocka_unit_test(test_length_reads_every_integer),
        cmocka_unit_test(test_length_offset_adjust_and_whole),
        cmocka_unit_test(test_content_length_header),
        cmocka_unit_test(test_content_length_header_is_bounded),
        cmocka_unit_test(test_fixed_and_close),
        cmocka_unit_test(test_more_says_how_many_bytes_are_needed),
        cmocka_unit_test(test_no_bytes_are_no_message),
        cmocka_unit_test(test_work_is_linear_however_slowly_a_message_comes),
        cmocka_unit_test(test_endless_line_is_refused_at_its_first_byte_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
