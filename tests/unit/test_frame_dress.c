/*
 * What stands around a message that is sent, as rows: framing, the end of the request, the message, and what
 * goes over the wire, or that it is refused. That it is read back to the same message is the business of
 * fuzz_frame.c.
 */
#include "frame.h"

#include "test.h"

#include <errno.h>
#include <stdio.h>
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

struct dressed {
    const char *word;
    enum frame_end end;
    const char *body;
    size_t len;
    const char *wire; /* NULL: refused */
    size_t wire_len;
};

#define REFUSED NULL, 0

static void dress_row(const struct dressed *row)
{
    struct framing f = framing(row->word);
    struct frame_dress d;
    int r = frame_dress(&f, row->end, row->len > 0 ? row->body : NULL, row->len, &d);
    if ((r == 0) != (row->wire != NULL) || (r < 0 && r != -EBADMSG))
        fail_msg("%s: \"%s\" gave %d", row->word, row->body, r);
    if (r < 0) {
        assert_int_equal(frame_put(&f, row->end, row->body, row->len, (char[256]){ 0 }), -EBADMSG);
        return;
    }
    char wire[256];
    memcpy(wire, d.head, d.head_len);
    memcpy(wire + d.head_len, row->body, row->len);
    memcpy(wire + d.head_len + row->len, d.tail, d.tail_len);
    size_t len = d.head_len + row->len + d.tail_len;
    if (len != row->wire_len || memcmp(wire, row->wire, len) != 0)
        fail_msg("%s: \"%s\" became \"%.*s\"", row->word, row->body, (int)len, wire);
    char *put = malloc(row->len + FRAME_DRESS_MAX);
    assert_non_null(put);
    assert_int_equal(frame_put(&f, row->end, row->len > 0 ? row->body : NULL, row->len, put), len);
    assert_memory_equal(put, wire, len);
    free(put);
}

#define DRESS(rows)                                               \
    for (size_t i = 0; i < sizeof(rows) / sizeof((rows)[0]); i++) \
    dress_row(&(rows)[i])

static void test_text_replies_end_as_their_requests_did(void **state)
{
    (void)state;
    static const struct dressed rows[] = {
        { "line", FRAME_END_LF, BYTES("abc"), BYTES("abc\n") },
        { "line", FRAME_END_CRLF, BYTES("abc"), BYTES("abc\r\n") },
        { "line", FRAME_END_NONE, BYTES("abc"), BYTES("abc") },
        { "line", FRAME_END_LF, BYTES(""), BYTES("\n") },
        { "line", FRAME_END_LF, BYTES("a\nb"), REFUSED },
        { "line", FRAME_END_NONE, BYTES("a\n"), REFUSED },
        { "line", FRAME_END_LF, BYTES("a\rb\0"), BYTES("a\rb\0\n") },
        { "block", FRAME_END_LF, BYTES("a\n"), BYTES("a\n\n") },
        { "block", FRAME_END_LF, BYTES("a"), BYTES("a\n\n") },
        { "block", FRAME_END_CRLF, BYTES("a"), BYTES("a\r\n\r\n") },
        { "block", FRAME_END_CRLF, BYTES("a\r\n"), BYTES("a\r\n\r\n") },
        { "block", FRAME_END_CRLF, BYTES(""), BYTES("\r\n") },
        { "block", FRAME_END_LF, BYTES("a\n\n"), REFUSED },
        { "block", FRAME_END_LF, BYTES("\na"), REFUSED },
        { "block", FRAME_END_LF, BYTES("a\n\r\nb"), REFUSED },
        { "block", FRAME_END_LF, BYTES("a\n\r"), REFUSED },
        { "block", FRAME_END_CRLF, BYTES("a\n\r"), BYTES("a\n\r\r\n\r\n") },
        { "delimiter:\\0", FRAME_END_LF, BYTES("{}"), BYTES("{}\0") },
        { "delimiter:\\0", FRAME_END_LF, BYTES(""), BYTES("\0") },
        { "delimiter:\\0", FRAME_END_LF, BYTES("a\0b"), REFUSED },
        { "delimiter:aab", FRAME_END_LF, BYTES("xaab"), REFUSED },
        { "delimiter:aab", FRAME_END_LF, BYTES("xa"), BYTES("xaaab") },
        { "delimiter:aa", FRAME_END_LF, BYTES("xa"), REFUSED },
        { "delimiter:\\n.\\n", FRAME_END_LF, BYTES("x\n."), REFUSED },
        { "delimiter:\\n.\\n", FRAME_END_LF, BYTES("x\n"), BYTES("x\n\n.\n") },
        { "close", FRAME_END_LF, BYTES("a\nb"), BYTES("a\nb") },
    };
    DRESS(rows);
}

static void test_announced_replies_get_their_length(void **state)
{
    (void)state;
    static const struct dressed rows[] = {
        { "netstring", FRAME_END_LF, BYTES("abc"), BYTES("3:abc,") },
        { "netstring", FRAME_END_LF, BYTES(""), BYTES("0:,") },
        { "netstring", FRAME_END_LF, BYTES("0123456789"), BYTES("10:0123456789,") },
        { "content-length", FRAME_END_LF, BYTES("abc"), BYTES("Content-Length: 3\r\n\r\nabc") },
        { "fixed:3", FRAME_END_LF, BYTES("abc"), BYTES("abc") },
        { "fixed:3", FRAME_END_LF, BYTES("ab"), REFUSED },
        { "fixed:3", FRAME_END_LF, BYTES("abcd"), REFUSED },
        { "length:u8", FRAME_END_LF, BYTES("abc"), BYTES("\3abc") },
        { "length:u16be", FRAME_END_LF, BYTES("abc"), BYTES("\0\3abc") },
        { "length:u16le", FRAME_END_LF, BYTES("abc"), BYTES("\3\0abc") },
        { "length:u24be", FRAME_END_LF, BYTES("abc"), BYTES("\0\0\3abc") },
        { "length:u32be", FRAME_END_LF, BYTES("abc"), BYTES("\0\0\0\3abc") },
        { "length:u32le", FRAME_END_LF, BYTES("abc"), BYTES("\3\0\0\0abc") },
        { "length:u64be", FRAME_END_LF, BYTES("abc"), BYTES("\0\0\0\0\0\0\0\3abc") },
        { "length:u64le", FRAME_END_LF, BYTES("abc"), BYTES("\3\0\0\0\0\0\0\0abc") },
        { "length:varint", FRAME_END_LF, BYTES("abc"), BYTES("\3abc") },
        { "length:varint,adjust=-300", FRAME_END_LF, BYTES("abc"), BYTES("\xaf\2abc") },
        { "length:u8,adjust=2", FRAME_END_LF, BYTES("abc"), BYTES("\1abc") },
        { "length:u8,adjust=4", FRAME_END_LF, BYTES("abc"), REFUSED },
        { "length:u8,adjust=-252", FRAME_END_LF, BYTES("abc"),
          BYTES("\xff"
                "abc") },
        { "length:u8,adjust=-253", FRAME_END_LF, BYTES("abc"), REFUSED },
        { "length:u32be,whole", FRAME_END_LF, BYTES("abc"), BYTES("\0\0\0\7abc") },
        { "length:u16be,offset=2", FRAME_END_LF, BYTES("xy\0\1a"), BYTES("xy\0\1a") },
        { "length:u16be,offset=2", FRAME_END_LF, BYTES("xy\0\1"), REFUSED },
        { "length:u16be,offset=2", FRAME_END_LF, BYTES("xy\0\1ab"), REFUSED },
        { "length:u16be,offset=2", FRAME_END_LF, BYTES("xy"), REFUSED },
        { "length:u16be,offset=2", FRAME_END_LF, BYTES(""), REFUSED },
    };
    DRESS(rows);
}

static void test_reply_too_long_for_its_integer_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        size_t most;
    } rows[] = { { "length:u8", 255 },           { "length:u16be", 65535 },
                 { "length:u16le", 65535 },      { "length:u24be", 0xffffff },
                 { "length:u32be", 0xffffffff }, { "length:u32le", 0xffffffff },
                 { "length:u8,adjust=5", 260 },  { "length:u16be,whole", 65533 } };
    struct frame_dress d;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct framing f = framing(rows[i].word);
        assert_int_equal(frame_dress(&f, FRAME_END_LF, "", rows[i].most, &d), 0);
        assert_int_equal(frame_dress(&f, FRAME_END_LF, "", rows[i].most + 1, &d), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_replies_end_as_their_requests_did),
        cmocka_unit_test(test_announced_replies_get_their_length),
        cmocka_unit_test(test_reply_too_long_for_its_integer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
