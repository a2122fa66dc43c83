/*
 * The append path for callgrind: `instructions WAY DIRECTORY` appends 400,000 events in one way, once the pool is ready. benches/instructions.sh
 * runs it and says which function it counts. No time is taken.
 */
#include "append/bench.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS 400000u
#define BATCH 64u

static walrec_event_t built;
static walrec_event_t batch[BATCH];

__attribute__((noinline)) void with_append(walrec_t *log);
__attribute__((noinline)) void with_batches(walrec_t *log);
__attribute__((noinline)) void with_reserve(walrec_t *log);
__attribute__((noinline)) void with_inline(walrec_t *log, walrec_cursor_t *cursor);
__attribute__((noinline)) void with_nothing(walrec_event_t *event);

void with_append(walrec_t *log)
{
    uint64_t id;
    for (id = 1; id <= EVENTS; id++) {
        built.event_id = id;
        expect_ok("walrec_append", walrec_append(log, &built));
    }
}

void with_batches(walrec_t *log)
{
    uint64_t id = 0;
    while (id < EVENTS) {
        unsigned i;
        for (i = 0; i < BATCH; i++)
            batch[i].event_id = ++id;
        expect_ok("walrec_append_batch", walrec_append_batch(log, batch, BATCH, NULL));
    }
}

void with_reserve(walrec_t *log)
{
    walrec_event_t *slot;
    uint64_t id;
    for (id = 1; id <= EVENTS; id++) {
        expect_ok("walrec_reserve", walrec_reserve(log, &slot));
        fill(slot, id);
        expect_ok("walrec_commit", walrec_commit(log));
    }
}

void with_inline(walrec_t *log, walrec_cursor_t *cursor)
{
    walrec_event_t *slot;
    uint64_t id;
    for (id = 1; id <= EVENTS; id++) {
        walrec_status_t status = walrec_reserve_inline(log, cursor, &slot);
        if (status == WALREC_OK) {
            fill(slot, id);
            status = walrec_commit_inline(log, cursor);
        }
        if (status != WALREC_OK)
            fail("inline", status);
    }
}

/* What the loops above cost beside the log. */
void with_nothing(walrec_event_t *event)
{
    uint64_t id;
    for (id = 1; id <= EVENTS; id++) {
        __asm__ __volatile__("" : "+r"(event));
        fill(event, id);
        __asm__ __volatile__("" : : : "memory");
    }
}

/* All that the appends need is prepared: none has to wait. */
static void wait_for_pool(walrec_t *log)
{
    static walrec_telemetry_t telemetry;
    telemetry.struct_size = sizeof telemetry;
    do {
        pause_ms(10);
        expect_ok("walrec_telemetry", walrec_telemetry(log, &telemetry));
    } while (telemetry.prepared_now < STAGE_SLOTS - 1);
}

int main(int argc, char **argv)
{
    walrec_t *log;
    if (argc != 3) {
        fprintf(stderr, "usage: instructions append|batch|reserve|inline|nothing DIRECTORY\n");
        return 2;
    }
    requests_make();
    fill(&built, 1);
    bench.place = argv[2];
    expect_ok("walrec_config_init", walrec_config_init(&bench.config, sizeof bench.config));
    log = open_log("instructions", &bench.config);
    wait_for_pool(log);
    switch (argv[1][0]) {
    case 'a': with_append(log); break;
    case 'b': with_batches(log); break;
    case 'r': with_reserve(log); break;
    case 'i': with_inline(log, walrec_inline_cursor(log)); break;
    default: with_nothing(&built); break;
    }
    expect_ok("walrec_close", walrec_close(log));
    return 0;
}
