/*
 * No prepared segment left: FAIL refuses at once, WAIT waits its time; nothing is half recorded.
 *
 * The smallest pool, 3 slots of 16 blocks, is filled faster than any disk empties it.
 */
#include "check.h"

#define SEGMENT_EVENTS 4096u

static walrec_config_t config_tiny(uint32_t policy)
{
    walrec_config_t config = config_small();
    config.stage_slots = 3;
    config.full_policy = policy;
    return config;
}

static void fail_single(void)
{
    const char *dir = path("fail-single");
    walrec_config_t config = config_tiny(WALREC_FULL_FAIL);
    walrec_t *log = log_open(dir, &config);
    walrec_meta_state_t state;
    uint64_t id, refused = 0, times = 0;
    for (id = 1; id <= 60 * SEGMENT_EVENTS; id++) {
        walrec_event_t event = event_of(id);
        walrec_status_t status = walrec_append(log, &event);
        if (status == WALREC_E_BACKPRESSURE) {
            times++;
            CHECK_U64(id - 1, walrec_last_event_id(log));
            CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
            CHECK_U64(id - 1, state.last_event_id);
            /* A wrong id is still a wrong id, and told or refused for lack of room; never recorded. */
            event.event_id = 0;
            CHECK(walrec_append(log, &event) < 0);
            event = event_of(id - 1);
            CHECK(walrec_append(log, &event) < 0);
            CHECK_U64(id - 1, walrec_last_event_id(log));
            event = event_of(id);
            do {
                refused++;
                relax();
                status = walrec_append(log, &event);
            } while (status == WALREC_E_BACKPRESSURE);
        }
        REQUIRE_STATUS(WALREC_OK, status);
        if (walrec_last_event_id(log) != id)
            check_fail(__FILE__, __LINE__, "last id %" PRIu64 " after event %" PRIu64, walrec_last_event_id(log), id);
    }
    printf("FAIL, single: %" PRIu64 " events, refused %" PRIu64 " times in %" PRIu64 " places\n", id - 1,
           refused, times);
    /* Else the pool was never full, and nothing was proved. */
    CHECK(times > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, id - 1);
}

static walrec_event_t batch[1000];

static void fail_batch(void)
{
    const char *dir = path("fail-batch");
    walrec_config_t config = config_tiny(WALREC_FULL_FAIL);
    walrec_t *log = log_open(dir, &config);
    uint64_t last = 0, times = 0, i;
    while (last < 60 * SEGMENT_EVENTS) {
        size_t done = 7777;
        walrec_status_t status;
        for (i = 0; i < 1000; i++)
            batch[i] = event_of(last + 1 + i);
        status = walrec_append_batch(log, batch, 1000, &done);
        if (status == WALREC_E_BACKPRESSURE) {
            CHECK(done < 1000);
            times++;
        } else {
            REQUIRE_STATUS(WALREC_OK, status);
            CHECK_U64(1000, done);
        }
        last += done;
        CHECK_U64(last, walrec_last_event_id(log));
    }
    printf("FAIL, batches: %" PRIu64 " events, refused %" PRIu64 " times\n", last, times);
    CHECK(times > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

static void fail_in_place(void)
{
    const char *dir = path("fail-in-place");
    walrec_config_t config = config_tiny(WALREC_FULL_FAIL);
    walrec_t *log = log_open(dir, &config);
    uint64_t id, times = 0;
    for (id = 1; id <= 60 * SEGMENT_EVENTS; id++) {
        walrec_event_t *slot = (walrec_event_t *)(uintptr_t)64;
        walrec_status_t status;
        while ((status = walrec_reserve(log, &slot)) == WALREC_E_BACKPRESSURE) {
            CHECK(slot == NULL);
            if (times++ % 1000 == 0) {
                /* Nothing is reserved then. */
                CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
                CHECK_U64(id - 1, walrec_last_event_id(log));
            }
            relax();
        }
        REQUIRE_STATUS(WALREC_OK, status);
        event_fill(slot, id);
        REQUIRE_STATUS(WALREC_OK, walrec_commit(log));
    }
    printf("FAIL, in place: %" PRIu64 " events, refused %" PRIu64 " times\n", id - 1, times);
    CHECK(times > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, id - 1);
}

/* Rotations by hand use up the pool, too. */
static void fail_rotate(void)
{
    const char *dir = path("fail-rotate");
    walrec_config_t config = config_tiny(WALREC_FULL_FAIL);
    walrec_t *log = log_open(dir, &config);
    uint64_t id = 0, times = 0;
    unsigned i;
    for (i = 0; i < 50; i++) {
        walrec_status_t status;
        for (;;) {
            walrec_event_t event = event_of(id + 1);
            status = walrec_append(log, &event);
            if (status != WALREC_E_BACKPRESSURE)
                break;
            times++;
            relax();
        }
        REQUIRE_STATUS(WALREC_OK, status);
        id++;
        status = walrec_rotate(log);
        if (status == WALREC_E_BACKPRESSURE)
            times++;
        else
            CHECK_STATUS(WALREC_OK, status);
        CHECK_U64(id, walrec_last_event_id(log));
    }
    printf("FAIL, rotations: %" PRIu64 " events, refused %" PRIu64 " times\n", id, times);
    CHECK(times > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, id);
}

static void wait_works_through(void)
{
    const char *dir = path("wait");
    walrec_config_t config = config_tiny(WALREC_FULL_WAIT);
    walrec_t *log;
    walrec_event_t event;
    uint64_t begin, i, last;
    config.wait_limit_us = 30000000;
    log = log_open(dir, &config);
    begin = now_ns();
    append_range(log, 1, 100 * SEGMENT_EVENTS);
    last = 100 * SEGMENT_EVENTS;
    for (i = 0; i < 100; i++) {
        size_t done, k;
        for (k = 0; k < 1000; k++)
            batch[k] = event_of(last + 1 + k);
        CHECK_STATUS(WALREC_OK, walrec_append_batch(log, batch, 1000, &done));
        CHECK_U64(1000, done);
        last += 1000;
    }
    event = event_of(last);
    CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
    printf("WAIT: %" PRIu64 " events in %" PRIu64 " ms\n", last, (now_ns() - begin) / 1000000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

/* A short limit: BACKPRESSURE comes in about its time, and the next attempt goes on. */
static void wait_with_a_limit(void)
{
    const char *dir = path("limit");
    walrec_config_t config = config_tiny(WALREC_FULL_WAIT);
    walrec_t *log;
    uint64_t id, times = 0;
    config.wait_limit_us = 50;
    log = log_open(dir, &config);
    for (id = 1; id <= 60 * SEGMENT_EVENTS; id++) {
        walrec_event_t event = event_of(id);
        walrec_status_t status;
        uint64_t begin = now_ns();
        while ((status = walrec_append(log, &event)) == WALREC_E_BACKPRESSURE) {
            uint64_t took = now_ns() - begin;
            /* The upper end is generous: other processes may have had the CPU. */
            if (took < 50 * 1000 || took > 5 * SECOND_NS)
                check_fail(__FILE__, __LINE__, "waited %" PRIu64 " ns of 50 us", took);
            CHECK_U64(id - 1, walrec_last_event_id(log));
            times++;
            begin = now_ns();
        }
        REQUIRE_STATUS(WALREC_OK, status);
    }
    printf("WAIT 50 us: %" PRIu64 " events, refused %" PRIu64 " times\n", id - 1, times);
    CHECK(times > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, id - 1);
}

/* Killed in the middle of it: gapless, and not one event short. */
struct killed {
    uint64_t appended;
};

static void fill_and_die(void *argument)
{
    struct killed *k = argument;
    walrec_config_t config = config_tiny(WALREC_FULL_FAIL);
    walrec_t *log = log_open(path("killed"), &config);
    uint64_t id = 1;
    unsigned refused = 0;
    while (refused < 1000) {
        walrec_event_t event = event_of(id);
        walrec_status_t status = walrec_append(log, &event);
        if (status == WALREC_OK)
            __atomic_store_n(&k->appended, id++, __ATOMIC_RELEASE);
        else
            refused++;
    }
    raise(SIGKILL);
}

static void killed_when_full(void)
{
    struct killed *k = shared_memory(sizeof *k);
    walrec_config_t config = config_tiny(WALREC_FULL_WAIT);
    walrec_t *log;
    int status = wait_child(start_child(fill_and_die, k));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    log = log_open(path("killed"), &config);
    CHECK_U64(k->appended, walrec_last_event_id(log));
    append_range(log, k->appended + 1, k->appended + 50000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("killed"), 1, k->appended + 50000);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 90);
    fail_single();
    fail_batch();
    fail_in_place();
    fail_rotate();
    wait_works_through();
    wait_with_a_limit();
    killed_when_full();
    return check_end();
}
