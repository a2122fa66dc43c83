/* walrec_sync: what it waits for, for how long, and who may ask. */
#include "check.h"

struct waiter {
    walrec_t *log;
    uint64_t event_id, timeout_ns, durable, took_ns;
    walrec_status_t status;
    int started, finished;
};

static void *wait_for(void *argument)
{
    struct waiter *w = argument;
    uint64_t begin = now_ns();
    __atomic_store_n(&w->started, 1, __ATOMIC_RELEASE);
    w->status = walrec_sync(w->log, w->event_id, w->timeout_ns);
    w->took_ns = now_ns() - begin;
    w->durable = walrec_durable_event_id(w->log);
    __atomic_store_n(&w->finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

static pthread_t start(struct waiter *w, walrec_t *log, uint64_t event_id, uint64_t timeout_ns)
{
    pthread_t thread;
    memset(w, 0, sizeof *w);
    w->log = log;
    w->event_id = event_id;
    w->timeout_ns = timeout_ns;
    REQUIRE(pthread_create(&thread, NULL, wait_for, w) == 0);
    while (!__atomic_load_n(&w->started, __ATOMIC_ACQUIRE))
        pause_us(100);
    return thread;
}

int main(int argc, char **argv)
{
    const char *dir;
    walrec_config_t config;
    walrec_t *log;
    struct waiter waiter, many[8];
    pthread_t thread, threads[8];
    uint64_t last, begin, i;

    check_begin(argc, argv, 60);
    dir = path("log");
    config = config_small();
    log = log_open(dir, &config);

    /* Nothing appended: nothing to wait for. */
    CHECK_STATUS(WALREC_E_INVALID, walrec_sync(NULL, 0, 0));
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 0));
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));

    append_range(log, 1, 1000);
    last = 1000;
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 500, NO_LIMIT));
    CHECK(walrec_durable_event_id(log) >= 500);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_U64(last, walrec_durable_event_id(log));

    /* Already durable: OK at once, for any id up to it and any timeout. */
    for (i = 1; i <= last; i += 37)
        CHECK_STATUS(WALREC_OK, walrec_sync(log, i, i % 2 == 0 ? 0 : 1));

    /* From the append thread an id above the last would never come. */
    CHECK_STATUS(WALREC_E_INVALID, walrec_sync(log, last + 1, 0));
    CHECK_STATUS(WALREC_E_INVALID, walrec_sync(log, last + 1, NO_LIMIT));
    CHECK_STATUS(WALREC_E_INVALID, walrec_sync(log, UINT64_MAX, NO_LIMIT));

    /* A timeout of 0 only wakes the flusher; then it becomes durable by itself. */
    append_range(log, last + 1, last + 5000);
    last += 5000;
    CHECK_STATUS_EITHER(WALREC_E_TIMEOUT, WALREC_OK, walrec_sync(log, 0, 0));
    begin = now_ns();
    while (walrec_durable_event_id(log) < last) {
        REQUIRE(now_ns() - begin < 20 * SECOND_NS);
        pause_us(100);
    }

    /* Small timeouts end near their time, and each result is true. */
    for (i = 1; i < 200; i++) {
        walrec_status_t status;
        append_range(log, last + 1, last + 100);
        last += 100;
        status = walrec_sync(log, 0, i * 1000);
        CHECK(status == WALREC_OK || status == WALREC_E_TIMEOUT);
        if (status == WALREC_OK)
            CHECK_U64(last, walrec_durable_event_id(log));
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));

    /* The event just below a block, a block's last one, and over a rotation. */
    for (i = 0; i < 300; i++) {
        append_range(log, last + 1, last + 85);
        last += 85;
        if (i % 50 == 49)
            CHECK_STATUS(WALREC_OK, walrec_rotate(log));
        CHECK_STATUS(WALREC_OK, walrec_sync(log, last, NO_LIMIT));
        CHECK_U64(last, walrec_durable_event_id(log));
    }
    log_holds(dir, 1, last);

    /* Another thread may wait for what is still to come. */
    thread = start(&waiter, log, last + 1000, NO_LIMIT);
    append_range(log, last + 1, last + 999);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, last + 999, NO_LIMIT));
    pause_us(50000);
    CHECK(!__atomic_load_n(&waiter.finished, __ATOMIC_ACQUIRE));
    append_range(log, last + 1000, last + 1000);
    last += 1000;
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(WALREC_OK, waiter.status);
    CHECK(waiter.durable >= last);

    /* And gives up in its time when it does not come. */
    thread = start(&waiter, log, last + 1, 30 * 1000 * 1000);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(WALREC_E_TIMEOUT, waiter.status);
    CHECK(waiter.took_ns >= 30 * 1000 * 1000);
    CHECK(waiter.took_ns < 10 * SECOND_NS);

    /* Several waiters with different ids, while the engine goes on. */
    for (i = 0; i < 8; i++)
        threads[i] = start(&many[i], log, last + 1 + i * 700, NO_LIMIT);
    for (i = 0; i < 5600; i += 100)
        append_range(log, last + 1 + i, last + 100 + i);
    for (i = 0; i < 8; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK_STATUS(WALREC_OK, many[i].status);
        CHECK(many[i].durable >= many[i].event_id);
    }
    last += 5600;

    /* A shutdown wakes those who wait for what will not come any more. */
    for (i = 0; i < 4; i++)
        threads[i] = start(&many[i], log, last + 1 + i, i == 0 ? 60 * SECOND_NS : NO_LIMIT);
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK_STATUS(WALREC_E_CLOSED, many[i].status);
        CHECK(many[i].took_ns < 30 * SECOND_NS);
    }
    /* What is durable stays so. */
    CHECK_STATUS(WALREC_OK, walrec_sync(log, last, 0));
    CHECK_U64(last, walrec_durable_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
    return check_end();
}
