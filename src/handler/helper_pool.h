/*
 * What the files of the handler "helper" share: helper.c (the handler: queue and dealing), helper_life.c
 * (start, proof, death), helper_line.c (bytes to one helper), helper_read.c (bytes from it),
 * helper_json_line.c (what the json protocol does otherwise), helper_blame.c (what its end says of it),
 * helper_roll.c (replacement by hand).
 */
#ifndef SOCKD_HANDLER_HELPER_POOL_H
#define SOCKD_HANDLER_HELPER_POOL_H

#include "base/buf.h"
#include "base/deadline.h"
#include "base/list.h"
#include "base/log_limit.h"
#include "base/loop.h"
#include "frame.h"
#include "handler/handler.h"

/* Requests that may be with one helper at once, when helper_pipeline adapts. */
#define HELPER_DEPTH_MAX 64

/* One request, while the pool has it. */
struct job {
    struct list link;        /* in pool->queue, helper->line, or pool->spare */
    struct deadline waiting; /* queue_timeout, from when it was queued until a helper works on it */
    struct deadline working; /* handler_timeout, at the head of a line */
    struct request *request; /* NULL: cancelled, its reply is swallowed; or it is the probe */
    struct pool *pool;
    struct helper *helper;   /* NULL: in the queue */
    uint64_t id;             /* json: by which its answer names it */
    uint64_t answers_before; /* json: of its helper, when it was put into its line */
    uint64_t start, end;     /* where its frame begins and ends, in the count of bytes for its helper */
    uint64_t since_ms;       /* when it was queued first */
    bool probe;
};

/* Why a helper is made to end, where that quotes it. */
#define HELPER_WHY_MAX 256
/* What is said of one end of a helper. */
#define HELPER_END_MAX 512

enum helper_state {
    HELPER_ABSENT,   /* none; one is asked for when the timer says so, or a spawner is there */
    HELPER_STARTING, /* the spawner was asked */
    HELPER_PROVING,  /* it runs; whether it works is not known yet */
    HELPER_UP,
    HELPER_DYING, /* told to end; nothing is read any more, or only to be thrown away */
};

struct helper {
    struct pool *pool;
    uint32_t slot;
    int32_t pid; /* 0: none */
    enum helper_state state;
    int in_fd, out_fd; /* own: to write to it, to read from it; -1 */
    struct loop_source in, out;
    struct buf to;   /* bytes that it has not taken */
    struct buf from; /* of an unfinished reply */
    struct frame_scan scan;
    struct list line; /* jobs, in the order of their replies */
    unsigned in_line;
    unsigned depth;                       /* how many may be in its line */
    uint64_t queued_bytes, written_bytes; /* ever put into `to`; ever put into its pipe */
    uint64_t replies;                     /* of this process, without that to the probe */
    uint64_t answers;          /* json: of this process, those to requests that were over included */
    uint64_t recycle_after;    /* replies; 0: never */
    uint64_t working_since_us; /* when it could begin with the head of its line */
    uint64_t filled_us;        /* when its line was empty last */
    uint64_t started_ms;
    unsigned failures;  /* processes in a row that ended unasked, before their first reply */
    unsigned crashes;   /* processes in a row that ended of a request, before their first reply */
    const char *reason; /* why it is made to end, static or `why`; NULL: it is not, or it did nothing wrong */
    char why[HELPER_WHY_MAX];
    bool dirty;              /* bytes wait for the end of the turn to be written */
    bool tried;              /* its first process was up or failed: what READY waits for */
    bool proved;             /* this process was up */
    bool resting;            /* gets nothing until its line is empty, and for a moment then */
    bool rolling;            /* gets nothing more; replaced when its line is empty */
    bool to_roll;            /* to be replaced in its turn */
    bool killed;             /* DYING: by us */
    bool asked;              /* DYING: it had read a request that it did not answer */
    bool mute, babbles;      /* DYING: too slow, without any reply before; and then bytes came */
    struct loop_timer timer; /* again, proof, or the end of dying, by state */
};

struct pool {
    const struct handler_host *host; /* borrows */
    const struct service *conf;
    bool json;       /* helper_protocol */
    bool times_each; /* handler_timeout runs for each request in a line, not for the head alone */
    struct framing framing;
    uint64_t max_message;   /* bytes of what a helper writes at once */
    uint64_t last_id;       /* json: given to a request */
    struct helper *helpers; /* owns */
    unsigned n_helpers, n_up;
    uint64_t down_ms;  /* since when none is up */
    struct list queue; /* jobs without a helper, the oldest first */
    unsigned n_queued;
    struct list spare; /* jobs for use again */
    struct deadlines waiting, working;
    struct loop_timer turn_timer; /* at the end of the turn: deals what waits, writes what was dealt */
    char *scratch;                /* owns; to read into */
    uint64_t slow_us;             /* a reply that takes longer is slow */
    struct log_limit lines;       /* what a client can bring about must not flood */
    struct spawner_user user;
};

#define HELPER_SCRATCH ((size_t)64 * 1024)

/* helper.c: the queue and its dealing. */
struct stats_service *pool_stats(const struct pool *pool);
/* Gives the requests that wait to the helpers that have room, later in this turn of the loop. */
void pool_deal_soon(struct pool *pool);
/* A job on no list; NULL without memory. */
struct job *pool_take_job(struct pool *pool);
/* Off whatever list it is on, and spare. */
void pool_give_job(struct pool *pool, struct job *job);
/* Puts a job that its helper never saw back to the front of the queue. */
void pool_requeue(struct pool *pool, struct job *job);

/* helper_line.c: bytes to one helper, and what is in its line. */
/*
 * Puts a job at the end of the line and its frame into `to`, to be written at the end of a turn. 0; or
 * -EBADMSG when the framing cannot carry it, or -ENOMEM, and then the job is untouched.
 */
int helper_put(struct helper *helper, struct job *job, const char *data, size_t len);
/* Puts a LINE that is no request into `to`. */
void helper_tell(struct helper *helper, const char *line, size_t len);
/* Takes a job out of the line that was answered; its request is the caller's to end, NULL when nobody waits.
 */
struct request *helper_take_job(struct helper *helper, struct job *job);
/* The same for the head of the line. */
struct request *helper_take_head(struct helper *helper);
/* Writes what its pipe takes; the rest waits until it takes more. */
void helper_flush(struct helper *helper);
/* queue_timeout passed for a job in a line: its request fails, and it keeps its place, unless the helper
 * works on it. */
void helper_job_waited(struct job *job);
/* Waits until it takes more, or reads no more. 0 or -errno. */
int helper_watch_input(struct helper *helper);
/*
 * How much of what was ever put into its pipe it has taken out. What it has not read, it cannot have
 * answered. Ask after its output was read, so that what it reads meanwhile accuses nobody.
 */
uint64_t helper_taken_bytes(const struct helper *helper);
/*
 * What was not written to it goes from its line back to the queue; after its end also what it provably never
 * read. Its input is closed.
 */
void helper_give_back(struct helper *helper);
/*
 * It is killed: of what it has read, and of a head that is late, the head fails with WHY, and those behind it
 * because their helper is gone. What was not written to it goes back to the queue, and what lies in its pipe
 * stays in the line: that may go to another when it can read no more.
 */
void helper_fail_read(struct helper *helper, enum request_failure why);
/*
 * Ends all that is in the line: what was not written to it goes back to the queue. Of the others the head,
 * which it worked on, fails with WHY, and those behind it because their helper is gone.
 */
void helper_clear_line(struct helper *helper, enum request_failure why);
void helper_close_input(struct helper *helper);

/* helper_read.c: bytes from one helper. */
/* Waits for both pipes. 0 or -errno. */
int helper_watch(struct helper *helper);
/* Takes what it wrote before it ended. */
void helper_read_rest(struct helper *helper);
void helper_close_output(struct helper *helper);

/* helper_json_line.c: what the json protocol does otherwise. */
/* The line for a job, for free(3), and its length with the LF; NULL without memory. Gives the job its id. */
char *helper_json_line(struct job *job, const char *data, size_t len, size_t *ret_len);
/* One line of a helper that had read TAKEN bytes. False when it is not to be read any further. */
bool helper_take_answer(struct helper *helper, uint64_t taken, const char *line, size_t len);
/* handler_timeout passed for a job in a line, in either protocol. */
void helper_job_late(struct job *job);
/* Tells the helpers that a client left. */
void pool_tell_closed(struct pool *pool, uint64_t connection);
/* Ends one that does not read, before what it is told fills the memory. */
void helper_judge_backlog(struct helper *helper);

/* helper_life.c: from its start to its end, and again. */
void helper_init(struct helper *helper, struct pool *pool, uint32_t slot);
void helper_done(struct helper *helper);
/* Within the limit of the pool. */
void helper_log(struct helper *helper, int level, const char *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Asks the spawner for a process, if there is a spawner. */
void helper_ask(struct helper *helper);
bool helper_takes_requests(const struct helper *helper);
/* It gave a reply, or lived long enough: it works. */
void helper_proved(struct helper *helper);
/* Kills the process; nothing that it wrote is read any more. REASON is static or helper->why, for
 * the log: "wrote ...".
 */
void helper_kill(struct helper *helper, enum request_failure why, const char *reason);
/* The same, because it wrote WHAT ("a line that ..."): the first of the LEN bytes at DATA are told. */
void helper_refuse(struct helper *helper, enum request_failure why, const char *what, const char *data,
                   size_t len);
/* handler_timeout passed for JOB in its line: the head, in json any. */
void helper_too_slow(struct helper *helper, struct job *job);
/* It has read something of what it was given. */
bool helper_reads(const struct helper *helper);
/* Its line is empty, and is left so for a moment. */
void helper_rest(struct helper *helper);
/* Its output came to an end. */
void helper_on_silence(struct helper *helper);
/* It reads no more. */
void helper_on_deaf(struct helper *helper);
/* The spawner is gone, and it with it. */
void helper_lost(struct helper *helper);
/* Lets it go if it is to be replaced, or deaf, and has nothing in hand. */
void helper_retire_if_idle(struct helper *helper);
void helper_on_packet(void *context, const struct spawner_packet *packet, int fds[SPAWNER_FDS_MAX]);

/* helper_blame.c: what its end says of it. */
/* After every change: tells the worker when all were tried, and whether the service works. */
void pool_judge(struct pool *pool);
/* Whether it has read a request, while the end of its input is open. */
void helper_note_asked(struct helper *helper);
/* Counts its end, and tells WHY it came if it was not EXPECTED. How long to wait for the next, in ms. */
uint64_t helper_blame(struct helper *helper, bool expected, const char *why);
/* A number from 0 to RANGE - 1, for jitter. */
uint32_t helper_draw(uint32_t range);

/* helper_roll.c: `sockctl restart`. */
/* Replaces the helpers of this worker one after another; no request is lost by it. */
void helper_roll(struct pool *pool);
/* Replaces the next one that is to be rolled, when all work: one that cannot start must not take the others
 * with it. */
void helper_roll_next(struct pool *pool);

#endif
