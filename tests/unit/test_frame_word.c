/*
 * The textual form of the framings: every form is printed as it is read, every wrong one is answered with
 * what to write instead.
 */
#include "frame.h"

#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct framing framing(const char *word)
{
    struct framing f;
    const char *why = "";
    if (frame_parse(word, &f, &why) < 0)
        fail_msg("\"%s\" %s", word, why);
    return f;
}

static void test_every_word_prints_as_it_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
    } rows[] = {
        { "line", NULL },
        { "block", NULL },
        { "netstring", NULL },
        { "content-length", NULL },
        { "close", NULL },
        { "fixed:1", NULL },
        { "fixed:2147483647", NULL },
        { "fixed:0064", "fixed:64" },
        { "delimiter:\\0", NULL },
        { "delimiter:\\x00", "delimiter:\\0" },
        { "delimiter:\\x001", NULL },
        { "delimiter:\\r\\n.\\r\\n", NULL },
        { "delimiter:\n", "delimiter:\\n" },
        { "delimiter:a:b,c", NULL },
        { "delimiter:\\\\", NULL },
        { "delimiter:\\xff\\xfe", NULL },
        { "delimiter:0123456789abcdef", NULL },
        { "delimiter:\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01",
          NULL },
        { "length:u8", NULL },
        { "length:u16be", NULL },
        { "length:u16le", NULL },
        { "length:u24be", NULL },
        { "length:u32be", NULL },
        { "length:u32le", NULL },
        { "length:u64be", NULL },
        { "length:u64le", NULL },
        { "length:varint", NULL },
        { "length:u16be,offset=0", NULL },
        { "length:u16be,whole,adjust=-2147483648,offset=1024",
          "length:u16be,offset=1024,adjust=-2147483648,whole" },
        { "length:u8,adjust=0", "length:u8" },
        { "length:varint,offset=1,adjust=4", NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct framing f = framing(rows[i].text), again;
        char buf[FRAME_TEXT_MAX];
        assert_string_equal(frame_print(buf, &f), rows[i].printed ? rows[i].printed : rows[i].text);
        again = framing(buf);
        assert_true(frame_equal(&f, &again));
    }
}

static void test_every_wrong_word_says_what_to_write(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "lin", "is no framing; did you mean \"line\"?" },
        { "lenght:u16be", "is no framing; did you mean \"length\"?" },
        { "nettstring", "is no framing; did you mean \"netstring\"?" },
        { "content_length", "is no framing; did you mean \"content-length\"?" },
        { "xyzzy",
          "is no framing; there are line, delimiter, block, netstring, length, content-length, fixed and "
          "close" },
        { "", "is no framing; there are line, delimiter, block, netstring, length, content-length, fixed and "
              "close" },
        { "a word that is much longer than the longest name of a framing",
          "is no framing; there are line, delimiter, block, netstring, length, content-length, fixed and "
          "close" },
        { "line:", "has a parameter; line takes none" },
        { "close:1", "has a parameter; close takes none" },
        { "delimiter", "needs its bytes, as in delimiter:\\0" },
        { "delimiter:", "needs its bytes, as in delimiter:\\0" },
        { "delimiter:\\q", "has an escape that is unknown or unfinished" },
        { "delimiter:\\", "has an escape that is unknown or unfinished" },
        { "delimiter:0123456789abcdefg", "has more than 16 bytes" },
        { "delimiter:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg",
          "has more than 16 bytes" },
        { "fixed", "needs a number of bytes, as in fixed:64" },
        { "fixed:", "needs a number of bytes, as in fixed:64" },
        { "fixed:64k", "needs a number of bytes, as in fixed:64" },
        { "fixed:0", "needs a number from 1 to 2147483647" },
        { "fixed:-1", "needs a number from 1 to 2147483647" },
        { "fixed:99999999999999999999", "needs a number from 1 to 2147483647" },
        { "length", "needs an integer: u8, u16be, u16le, u24be, u32be, u32le, u64be, u64le or varint" },
        { "length:", "needs an integer: u8, u16be, u16le, u24be, u32be, u32le, u64be, u64le or varint" },
        { "length:float", "needs an integer: u8, u16be, u16le, u24be, u32be, u32le, u64be, u64le or varint" },
        { "length:u61be", "has the unknown integer \"u61be\"; did you mean \"u16be\"?" },
        { "length:u8,", "has the unknown option \"\"; there are offset, adjust and whole" },
        { "length:u8,ofset=4", "has the unknown option \"ofset\"; did you mean \"offset\"?" },
        { "length:u8,strip", "has the unknown option \"strip\"; there are offset, adjust and whole" },
        { "length:u8,offset", "needs a number for offset, as in offset=4" },
        { "length:u8,offset=", "needs a number for offset, as in offset=4" },
        { "length:u8,offset=1025", "needs offset from 0 to 1024" },
        { "length:u8,offset=-1", "needs offset from 0 to 1024" },
        { "length:u8,adjust=x", "needs a number for adjust, as in adjust=4" },
        { "length:u8,adjust=2147483648", "needs adjust from -2147483648 to 2147483647" },
        { "length:u8,whole=1", "has whole with a value; it takes none" },
        { "length:u8,whole,whole", "has whole twice" },
        { "length:u8,offset=1,offset=1", "has offset twice" },
        { "length:varint,whole", "has whole with a varint, whose own size changes with the number" },
        { "length:u8,a-very-long-option-a-very-long-option-a-very-long-option-a-very-long-option-a-very-long-"
          "option",
          "is longer than any framing" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct framing f, before;
        const char *why = NULL;
        memset(&f, 0x5a, sizeof(f));
        memcpy(&before, &f, sizeof(f));
        assert_int_equal(frame_parse(rows[i].text, &f, &why), -EINVAL);
        assert_string_equal(why, rows[i].why);
        assert_memory_equal(&f, &before, sizeof(f));
    }
}

static void test_help_has_a_row_for_every_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i <= FRAME_CLOSE; i++) {
        static const char *const parameters[] = {
            [FRAME_DELIMITER] = ":x", [FRAME_LENGTH] = ":u8", [FRAME_FIXED] = ":1", [FRAME_CLOSE] = NULL
        };
        char word[FRAME_TEXT_MAX];
        const char *name = frame_words[i].word;
        snprintf(word, sizeof(word), "%.*s%s", (int)strcspn(name, ":"), name,
                 parameters[i] ? parameters[i] : "");
        assert_int_equal(framing(word).kind, i);
        assert_non_null(frame_words[i].help);
    }
    assert_null(frame_words[FRAME_CLOSE + 1].word);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_word_prints_as_it_is_read),
        cmocka_unit_test(test_every_wrong_word_says_what_to_write),
        cmocka_unit_test(test_help_has_a_row_for_every_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
