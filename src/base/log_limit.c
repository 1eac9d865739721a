/* So many lines in a second; see log_limit.h. */
#include "base/log_limit.h"

#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>

#define SECOND_MS 1000

void log_limit_init(struct log_limit *limit, struct loop *loop, const char *service, const char *kind,
                    unsigned per_second)
{
    *limit = (struct log_limit){ .loop = loop, .service = service, .kind = kind, .per_second = per_second };
}

static void end_second(struct log_limit *limit)
{
    const struct log_about about = { .service = limit->service, .id = LOG_ID_SUPPRESSED };
    char span[TEXT_NUMBER_MAX];

    loop_timer_stop(limit->loop, &limit->over);
    if (limit->suppressed > 0)
        log_write(LOG_WARNING, &about, "%" PRIu64 " more line%s%s suppressed in %s", limit->suppressed,
                  limit->suppressed == 1 ? "" : "s", limit->kind,
                  text_print_duration(span, loop_now(limit->loop) - limit->since_ms));
    limit->told = 0;
    limit->suppressed = 0;
}

static void on_over(struct loop_timer *timer)
{
    end_second(container_of(timer, struct log_limit, over));
}

void log_limit_done(struct log_limit *limit)
{
    end_second(limit);
}

bool log_limit_take(struct log_limit *limit, int level)
{
    uint64_t now_ms = loop_now(limit->loop);

    if (!log_wants(level))
        return false;
    if (limit->told > 0 && now_ms - limit->began_ms >= SECOND_MS)
        end_second(limit);
    if (limit->told == 0)
        limit->began_ms = now_ms;
    if (limit->told < limit->per_second) {
        limit->told++;
        return true;
    }
    if (limit->suppressed++ == 0) {
        limit->since_ms = now_ms;
        loop_timer_set(limit->loop, &limit->over, limit->began_ms + SECOND_MS, on_over);
    }
    return false;
}
