/*
 * Framings: how a stream of bytes is cut into messages, and how a message is dressed to be sent.
 *
 * Pure functions over bytes: no input, no output, no log, no allocation. The same input gives the same
 * messages however it is split, and work is linear in the input: a frame_scan remembers what was looked at
 * already. sockd(8), sockctl(1) and the configuration share the one textual form, sockd-protocol(7).
 */
#ifndef SOCKD_FRAME_H
#define SOCKD_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum frame_kind {
    FRAME_LINE,           /* up to LF; the terminator is no part of the message */
    FRAME_DELIMITER,      /* up to these bytes */
    FRAME_BLOCK,          /* lines up to an empty line; the message is the lines, each with its end */
    FRAME_NETSTRING,      /* LEN:bytes, */
    FRAME_LENGTH,         /* announced by an integer */
    FRAME_CONTENT_LENGTH, /* header lines with Content-Length, an empty line, the body */
    FRAME_FIXED,          /* N bytes */
    FRAME_CLOSE,          /* everything until the end of input */
};

enum frame_int {
    FRAME_U8,
    FRAME_U16BE,
    FRAME_U16LE,
    FRAME_U24BE,
    FRAME_U32BE,
    FRAME_U32LE,
    FRAME_U64BE,
    FRAME_U64LE,
    FRAME_VARINT, /* base 128, least significant group first, at most 10 bytes (Protocol Buffers); never with
                     `whole` */
};

#define FRAME_DELIMITER_MAX 16
/* The header of a content-length message, with its empty line, in bytes. */
#define FRAME_HEADER_MAX 8192
/* The longest `offset`, in bytes. */
#define FRAME_OFFSET_MAX 1024
/* The longest `fixed` message, in bytes. */
#define FRAME_FIXED_MAX 0x7fffffff

struct framing {
    enum frame_kind kind;
    enum frame_int type;   /* FRAME_LENGTH */
    bool whole_frame;      /* FRAME_LENGTH with `offset`, 0 too: the message is the whole frame */
    bool counts_whole;     /* FRAME_LENGTH `whole`: the number counts the entire frame */
    uint32_t offset;       /* FRAME_LENGTH: bytes before the integer */
    int32_t adjust;        /* FRAME_LENGTH: added to the number */
    uint32_t size;         /* FRAME_FIXED */
    uint8_t delimiter_len; /* FRAME_DELIMITER */
    char delimiter[FRAME_DELIMITER_MAX]; /* FRAME_DELIMITER */
};

/* The longest text of frame_print with its NUL. */
#define FRAME_TEXT_MAX 96

/*
 * Reads "line", "delimiter:\0", "length:u16be,offset=4" and so on. 0; or -EINVAL, and then *RET_WHY says what
 * is wrong in words that follow the quoted text ("is no framing; did you mean \"line\"?", "needs a number of
 * bytes, as in fixed:64"), in static or thread-local memory.
 */
int frame_parse(const char *text, struct framing *ret, const char **ret_why);
/* The canonical text; frame_parse reads it back to the same value. Returns BUF. */
char *frame_print(char buf[FRAME_TEXT_MAX], const struct framing *f);
bool frame_equal(const struct framing *a, const struct framing *b);
/* Rows for help and completion: the word with its parameters, what a message is. Ends with a NULL word. */
struct frame_word {
    const char *word, *help;
};
extern const struct frame_word frame_words[];

/* How a message ended: what its reply must end with too. */
enum frame_end {
    FRAME_END_LF,
    FRAME_END_CRLF,
    FRAME_END_NONE, /* at the end of input, without a terminator */
};

/*
 * What is known of an unfinished message. All zero at the start of each message, and valid for its bytes
 * only: when they go to another process without it, an all-zero one finds the same message again.
 */
struct frame_scan {
    uint32_t seen;     /* bytes at the front that are not read again */
    uint32_t searched; /* content-length: bytes at the front that hold no line end but those before SEEN */
    uint32_t body;     /* content-length: the number announced */
    bool has_body;     /* content-length: it was announced */
    bool in_body;      /* content-length: the header is complete, SEEN bytes long */
};

enum frame_result {
    FRAME_MORE,      /* unfinished; at the end of input and LEN 0: there is no further message */
    FRAME_MESSAGE,   /* one is complete */
    FRAME_TOO_LONG,  /* the message is, or is announced to be, longer than allowed */
    FRAME_MALFORMED, /* it cannot be one, or the input ended inside it */
};

struct frame_message {
    size_t frame_len;   /* FRAME_MESSAGE: bytes of input it takes, framing included. FRAME_MORE: the bytes
                           needed in all, 0 if not known */
    size_t start, len;  /* the message itself within the frame */
    enum frame_end end; /* line and block; FRAME_END_LF otherwise */
};

/* What a message is looked for in; borrows all. */
struct frame_input {
    const struct framing *framing;
    struct frame_scan *scan;
    const char *data; /* all that arrived since the last message; may be NULL when there is nothing */
    size_t len;       /* at most UINT32_MAX */
    size_t max;       /* bounds the message (its len, not its framing), in bytes; SIZE_MAX is no bound */
    bool end;         /* nothing follows */
};

/*
 * Looks for a message at the front of the input. Of its bytes, those before scan->seen are not read again,
 * and of the others only a few: a caller may offer a message byte by byte. FRAME_TOO_LONG and FRAME_MALFORMED
 * come with the byte that shows them, and are final. *RET is set for FRAME_MESSAGE and FRAME_MORE.
 */
enum frame_result frame_next(const struct frame_input *in, struct frame_message *ret);

/* After FRAME_MESSAGE: it is taken, what is left of the input follows it. */
static inline void frame_take(struct frame_input *in, const struct frame_message *message)
{
    *in->scan = (struct frame_scan){ 0 };
    in->data += message->frame_len;
    in->len -= message->frame_len;
}

/* What stands around a message on the wire. */
struct frame_dress {
    char head[48];
    uint8_t head_len;
    uint8_t tail_len;
    char tail[FRAME_DELIMITER_MAX];
};

/*
 * Dresses a message to be sent, a reply with the end of its request, a request with FRAME_END_LF. 0, or
 * -EBADMSG when the framing cannot carry it: an LF in a line, the delimiter in it or made by its last bytes
 * together with the delimiter, an empty line in a block, too long for its integer, not the fixed size, no
 * whole frame. A block without a line end at its end gets one. A line may end in CR, and is then received as
 * one that ended in CR LF. DATA may be NULL when LEN is 0.
 */
int frame_dress(const struct framing *f, enum frame_end end, const char *data, size_t len,
                struct frame_dress *ret);

/* What stands around a message is no longer than this, in bytes. */
#define FRAME_DRESS_MAX (sizeof(struct frame_dress))

/* The same into memory: dresses the message and puts all of it at TO, where LEN + FRAME_DRESS_MAX bytes are
 * free and DATA does not lie. Returns the bytes put, or -EBADMSG. */
ssize_t frame_put(const struct framing *f, enum frame_end end, const char *data, size_t len, char *to);

#endif
