/* A queue of jobs, four threads, and an eventfd; see spawn_pool.h. */
#include "base/spawn_pool.h"

#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS 4

struct queue {
    struct spawn_job *first, **tail;
};

struct spawn_pool {
    struct loop *loop;
    struct loop_source source;
    int event_fd; /* owns; the loop is told of results */
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    bool closing;
    struct queue jobs, results; /* under the mutex */
    pthread_t threads[THREADS];
    int n_threads;
};

static void put(struct queue *queue, struct spawn_job *job)
{
    job->next = NULL;
    *queue->tail = job;
    queue->tail = &job->next;
}

static struct spawn_job *get(struct queue *queue)
{
    struct spawn_job *job = queue->first;

    if (job)
        queue->first = job->next;
    if (!queue->first)
        queue->tail = &queue->first;
    return job;
}

static void empty(struct queue *queue)
{
    *queue = (struct queue){ .first = NULL };
    queue->tail = &queue->first;
}

/* The next job; NULL at the end. */
static struct spawn_job *wait_for_job(struct spawn_pool *pool)
{
    struct spawn_job *job;

    pthread_mutex_lock(&pool->mutex);
    while (!pool->jobs.first && !pool->closing)
        pthread_cond_wait(&pool->wanted, &pool->mutex);
    job = pool->closing ? NULL : get(&pool->jobs);
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void give_result(struct spawn_pool *pool, struct spawn_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    put(&pool->results, job);
    pthread_mutex_unlock(&pool->mutex);
    eventfd_write(pool->event_fd, 1);
}

static void *thread_main(void *arg)
{
    struct spawn_pool *pool = arg;
    struct spawn_job *job;

    while ((job = wait_for_job(pool))) {
        job->error = spawn_exec(&job->what, &job->process, &job->step);
        give_result(pool, job);
    }
    return NULL;
}

static void on_results(struct loop_source *source, uint32_t events)
{
    struct spawn_pool *pool = container_of(source, struct spawn_pool, source);
    struct spawn_job *job;
    eventfd_t n;

    (void)events;
    eventfd_read(pool->event_fd, &n);
    for (;;) {
        pthread_mutex_lock(&pool->mutex);
        job = get(&pool->results);
        pthread_mutex_unlock(&pool->mutex);
        if (!job)
            return;
        job->on_done(job);
    }
}

int spawn_pool_open(struct loop *loop, struct spawn_pool **ret)
{
    struct spawn_pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return -ENOMEM;
    pool->loop = loop;
    pool->source.fd = -1;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    empty(&pool->jobs);
    empty(&pool->results);
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = pool->event_fd < 0 ? -errno : loop_add(loop, &pool->source, pool->event_fd, EPOLLIN, on_results);
    while (r == 0 && pool->n_threads < THREADS) {
        r = -pthread_create(&pool->threads[pool->n_threads], NULL, thread_main, pool);
        pool->n_threads += r == 0;
    }
    /* One will do. */
    if (r < 0 && pool->n_threads == 0) {
        spawn_pool_close(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

void spawn_pool_close(struct spawn_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    loop_remove(pool->loop, &pool->source);
    fd_close(&pool->event_fd);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void spawn_pool_submit(struct spawn_pool *pool, struct spawn_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    put(&pool->jobs, job);
    pthread_cond_signal(&pool->wanted);
    pthread_mutex_unlock(&pool->mutex);
}
