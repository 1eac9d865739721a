/*
 * `sockctl top`. It asks the daemon once per interval, and draws what changed since the time before. At a
 * terminal keys, signals and the daemon are waited for at once, so that nothing of them holds up another; a
 * daemon that is gone is looked for each interval until it is back.
 */
#include "client/top.h"

#include "client/ask.h"
#include "client/clock.h"
#include "client/print.h"
#include "client/say.h"
#include "client/terminal.h"
#include "client/top_draw.h"
#include "control.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAST_INTERVAL_MS 100
#define ANSWER_WITHIN_MS  2000 /* live, when no other time was given */
#define FIRST_AFTER_MS    250  /* so that there are rates soon */
#define PLAIN_WIDTH       160

struct top {
    const struct options *options;
    struct ask ask;
    bool is_asking;
    struct top_sample before, now;
    bool has_before, has_now;
    struct top_view view;
    int status;                                   /* what we would exit with now */
    uint64_t due_ns;                              /* when it is asked again */
    uint64_t answered_ns;                         /* the last time */
    char trouble[sizeof(((struct ask *)0)->why)]; /* why there is no news; "": there is */
    /* Live. */
    struct terminal terminal;
    enum top_order order;
    bool paused, is_over;
    int killed_by; /* a signal to die of */
};

static void make_view(struct top *top)
{
    top_view_done(&top->view);
    if (top_view_make(&top->view, top->has_before ? &top->before : NULL, &top->now) == 0)
        top_view_sort(&top->view, top->order);
}

/* Two looks that are too near each other say nothing about rates: then the one before both stays. */
static void take_sample(struct top *top, const struct top_sample *sample)
{
    top_view_done(&top->view);
    if (top->has_now && sample->clock_ms - top->now.clock_ms >= LEAST_INTERVAL_MS) {
        top_sample_done(&top->before);
        top->before = top->now;
        top->has_before = true;
    } else {
        top_sample_done(&top->now);
    }
    top->now = *sample;
    top->has_now = true;
    make_view(top);
}

/* The answer is whole: it is a sample, or the daemon says why not. */
static void take_answer(struct top *top)
{
    const char *text = buf_data(&top->ask.answer);
    struct top_sample sample;
    int r = text ? top_sample_parse(text, top->ask.answer.len, &sample) : -EPROTO;

    top->status = top->ask.code;
    if (r == 0) {
        take_sample(top, &sample);
        top->trouble[0] = '\0';
        top->answered_ns = clock_ns();
        return;
    }
    size_t len = text ? strcspn(text, "\n") : 0;
    if (r == -EPROTO && len > 0 && len < top->ask.answer.len)
        snprintf(top->trouble, sizeof(top->trouble), "%.*s", (int)len, text);
    else
        snprintf(top->trouble, sizeof(top->trouble), "the daemon's answer cannot be read: %s", strerror(-r));
    top->status = top->status ? top->status : EXIT_REFUSED;
}

/* What ask_start() and ask_work() said. */
static void go_on(struct top *top, int r)
{
    top->is_asking = r == 0;
    if (r > 0)
        take_answer(top);
    if (r < 0) {
        top->status = top->ask.code;
        snprintf(top->trouble, sizeof(top->trouble), "%s", top->ask.why);
    }
}

static void start_asking(struct top *top)
{
    top->due_ns = clock_ns() + top->options->interval_ms * 1000000;
    go_on(top, ask_start(&top->ask, "status " CONTROL_JSON));
}

static struct top_screen screen_of(const struct top *top)
{
    return (struct top_screen){
        .view = top->view.now ? &top->view : NULL,
        .trouble = top->trouble[0] ? top->trouble : NULL,
        .trouble_ms = (clock_ns() - top->answered_ns) / 1000000,
        .order = top->order,
        .paused = top->paused,
        .interval_ms = top->options->interval_ms,
        .now = time(NULL),
        .width = PLAIN_WIDTH,
    };
}

/* Live. */

static void draw(struct top *top)
{
    struct top_screen screen = screen_of(top);
    const char *no_color = getenv("NO_COLOR");
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return;
    screen.colour = !no_color || !no_color[0];
    terminal_size(&screen.width, &screen.height);
    top_draw(&screen, out);
    if (fclose(out) == 0 && terminal_write(text, len) < 0)
        top->is_over = true;
    free(text);
}

static void on_key(struct top *top, char key)
{
    switch (key) {
    case 'q':
    case 'Q':
        top->is_over = true;
        break;
    case 's':
        top->order = (top->order + 1) % TOP_ORDERS;
        if (top->view.now)
            top_view_sort(&top->view, top->order);
        break;
    case 'p':
        top->paused = !top->paused;
        top->due_ns = 0;
        break;
    case ' ':
        if (!top->is_asking)
            start_asking(top);
        break;
    }
}

/* Keys with names, such as arrows, are "ESC [ A" or "ESC O A", with parameters in between. Returns what
 * stands behind the one that begins here. */
static const char *skip_named(const char *key, const char *end)
{
    key++;
    if (key == end || (*key != '[' && *key != 'O'))
        return key;
    do
        key++;
    while (key < end && (*key < '@' || *key > '~'));
    return key < end ? key + 1 : end;
}

static void read_keys(struct top *top)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        top->is_over = true;
    for (const char *key = keys; key < keys + (n > 0 ? n : 0);) {
        if (*key == '\033')
            key = skip_named(key, keys + n);
        else
            on_key(top, *key++);
    }
}

static void read_signals(struct top *top)
{
    for (int signal; (signal = terminal_signal(&top->terminal));) {
        if (signal == SIGINT || signal == SIGPIPE)
            top->is_over = true;
        if (signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT)
            top->killed_by = signal;
        if (signal == SIGWINCH)
            terminal_write("\033[2J", strlen("\033[2J"));
    }
}

static int wait_limit(const struct top *top)
{
    uint64_t now_ns = clock_ns();

    if (top->is_asking)
        return ask_left_ms(&top->ask);
    if (top->paused)
        return -1;
    return top->due_ns > now_ns ? (int)((top->due_ns - now_ns + 999999) / 1000000) : 0;
}

static void live_turn(struct top *top)
{
    struct pollfd wait[] = {
        { .fd = STDIN_FILENO, .events = POLLIN },
        { .fd = top->terminal.signal_fd, .events = POLLIN },
        { .fd = top->is_asking ? top->ask.fd : -1, .events = POLLIN },
    };
    int n = poll(wait, sizeof(wait) / sizeof(wait[0]), wait_limit(top));

    if (n < 0)
        return;
    if (wait[1].revents)
        read_signals(top);
    if (wait[0].revents)
        read_keys(top);
    if (top->is_asking && (wait[2].revents || ask_left_ms(&top->ask) == 0))
        go_on(top, ask_work(&top->ask));
    if (!top->is_asking && !top->paused && clock_ns() >= top->due_ns)
        start_asking(top);
    draw(top);
}

/* 0 or -errno. */
static int run_live(struct top *top)
{
    int r = terminal_open(&top->terminal);

    if (r < 0)
        return r;
    draw(top);
    while (!top->is_over && !top->killed_by)
        live_turn(top);
    if (top->killed_by)
        terminal_die(&top->terminal, top->killed_by);
    terminal_close(&top->terminal);
    return 0;
}

/* One sample. */

static void pause_for(uint64_t ms)
{
    uint64_t start_ns = clock_ns();

    for (int left; (left = clock_left_ms(start_ns, ms)) > 0;)
        poll(NULL, 0, left);
}

/* False after saying why. */
static bool sample(struct top *top)
{
    int r = ask_whole(&top->ask, "status " CONTROL_JSON);

    go_on(top, r < 0 ? r : 1);
    if (top->trouble[0] && top->status == EXIT_MISUSED)
        say_misuse("%s", top->trouble);
    else if (top->trouble[0])
        say("%s", top->trouble);
    return !top->trouble[0];
}

static void print_once(struct top *top)
{
    pause_for(top->options->interval_ms);
    if (!sample(top) || !top->view.now)
        return;
    struct top_screen screen = screen_of(top);
    if (top->options->json)
        top_print_json(&top->view, stdout);
    else
        top_draw(&screen, stdout);
    int status = print_flush();
    if (status)
        top->status = status;
}

int top_run(struct options *o)
{
    bool is_live = !o->json && terminal_is_there();
    struct top top = { .options = o, .answered_ns = clock_ns() };

    if (o->interval_ms < LEAST_INTERVAL_MS)
        return say_misuse("the interval of top is %d ms at least", LEAST_INTERVAL_MS);
    setlocale(LC_CTYPE, "");
    ask_init(&top.ask, o, is_live && !o->timeout_given ? ANSWER_WITHIN_MS : o->timeout_ms);
    if (sample(&top) && is_live) {
        top.due_ns = clock_ns() + FIRST_AFTER_MS * 1000000;
        int r = run_live(&top);
        if (r < 0) {
            say("the terminal cannot be used: %s", strerror(-r));
            top.status = EXIT_REFUSED;
        }
    } else if (!top.trouble[0]) {
        print_once(&top);
    }
    ask_done(&top.ask);
    top_view_done(&top.view);
    top_sample_done(&top.before);
    top_sample_done(&top.now);
    return top.status;
}
