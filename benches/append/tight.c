/*
 * The tight loop: bursts of appends, each after a sync, so that the pool is the limit and not the disk; in each way there is, in
 * turns. Before each burst the same number of bare copies, when nothing else runs here: 64 bytes, a count, a prefetch, into memory of the
 * same kind and size. Ratios are of such pairs.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#define BATCH 64u
#define MOST_ROUNDS 100

enum way { BUILT, FILLED, IN_PLACE, INLINED, IN_BATCHES, WAYS };
static const char *const ids[WAYS] = {"append", "fill_append", "in_place", "inline", "batch"};
static const char *const names[WAYS] = {
    "walrec_append, event built beforehand",
    "walrec_append, event just filled",
    "walrec_reserve, filled in place, walrec_commit",
    "the same with walrec_inline.h",
    "walrec_append_batch of 64, built beforehand",
};

struct loop {
    walrec_t *log;
    walrec_cursor_t *cursor;
    walrec_event_t event, batch[BATCH];
    uint64_t id;
    unsigned n;       /* events of a burst */
    unsigned refused; /* the pool ran out: no measurement */
};

/* A refused append is tried again, so that the log goes on. */
static void refused(struct loop *loop, walrec_status_t status)
{
    if (status != WALREC_E_BACKPRESSURE)
        fail("append", status);
    loop->refused++;
    pause_ms(1);
}

static void burst_built(struct loop *loop)
{
    unsigned i;
    walrec_status_t status;
    for (i = 0; i < loop->n; i++) {
        loop->event.event_id = ++loop->id;
        while ((status = walrec_append(loop->log, &loop->event)) != WALREC_OK)
            refused(loop, status);
    }
}

static void burst_filled(struct loop *loop)
{
    unsigned i;
    walrec_status_t status;
    for (i = 0; i < loop->n; i++) {
        walrec_event_t event;
        fill(&event, ++loop->id);
        while ((status = walrec_append(loop->log, &event)) != WALREC_OK)
            refused(loop, status);
    }
}

static void burst_in_place(struct loop *loop)
{
    unsigned i;
    walrec_status_t status;
    for (i = 0; i < loop->n; i++) {
        walrec_event_t *slot;
        while ((status = walrec_reserve(loop->log, &slot)) != WALREC_OK)
            refused(loop, status);
        fill(slot, ++loop->id);
        if ((status = walrec_commit(loop->log)) != WALREC_OK)
            fail("walrec_commit", status);
    }
}

static void burst_inlined(struct loop *loop)
{
    walrec_t *log = loop->log;
    walrec_cursor_t *cursor = loop->cursor;
    uint64_t id = loop->id;
    unsigned i;
    walrec_status_t status;
    for (i = 0; i < loop->n; i++) {
        walrec_event_t *slot;
        while ((status = walrec_reserve_inline(log, cursor, &slot)) != WALREC_OK)
            refused(loop, status);
        fill(slot, ++id);
        if ((status = walrec_commit_inline(log, cursor)) != WALREC_OK)
            fail("walrec_commit_inline", status);
    }
    loop->id = id;
}

static void burst_in_batches(struct loop *loop)
{
    unsigned i, k;
    for (i = 0; i < loop->n; i += BATCH) {
        size_t n = loop->n - i < BATCH ? loop->n - i : BATCH, from = 0, done = 0;
        walrec_status_t status;
        for (k = 0; k < n; k++)
            loop->batch[k].event_id = ++loop->id;
        while ((status = walrec_append_batch(loop->log, loop->batch + from, n - from, &done)) != WALREC_OK) {
            from += done;
            refused(loop, status);
        }
    }
}

/* Nanoseconds an event; 0 when the pool ran out in between. */
static double burst(struct loop *loop, enum way way)
{
    static void (*const bursts[WAYS])(struct loop *) = {burst_built, burst_filled, burst_in_place, burst_inlined,
                                                        burst_in_batches};
    uint64_t begin;
    loop->refused = 0;
    begin = now_ns();
    bursts[way](loop);
    return loop->refused > 0 ? 0 : (double)(now_ns() - begin) / loop->n;
}

/* ---- without the library ---------------------------------------------------- */

enum floor_way { COPY, COPY_FILLED, COPY_FILLED_BY_VECTORS, FILL_THERE, FLOORS };
static const char *const floor_ids[FLOORS] = {"bare", "bare_filled", "bare_filled_vectors", "bare_in_place"};
static const char *const floor_names[FLOORS] = {
    "bare copy, count, prefetch, built beforehand (the floor)",
    "bare copy of an event just filled, by eight words",
    "bare copy of an event just filled, by vectors: waits for the stores",
    "bare: filled in place, count, prefetch",
};

static double bare_burst(struct bare *bare, unsigned n, enum floor_way way)
{
    walrec_event_t event;
    uint64_t begin, i;
    fill(&event, 1);
    begin = now_ns();
    for (i = 0; i < n; i++) {
        unsigned char *to = bare->memory + bare->at;
        if (way == COPY) {
            event.event_id++;
            __asm__ __volatile__("" ::: "memory");
            bare_copy(bare, &event);
            continue;
        }
        if (way == FILL_THERE) {
            fill((walrec_event_t *)(void *)to, i);
        } else {
            fill(&event, i);
            __asm__ __volatile__("" ::: "memory");
            if (way == COPY_FILLED) {
                bare_copy(bare, &event);
                continue;
            }
#if defined(__SSE2__)
            {
                typedef long long vector __attribute__((vector_size(16)));
                int k;
                for (k = 0; k < 4; k++)
                    ((volatile vector *)(void *)to)[k] = ((volatile vector *)(void *)&event)[k];
            }
#else
            memcpy(to, &event, sizeof event);
#endif
        }
        prefetch_for_write(to + bare->ahead);
        __atomic_store_n(bare->count, *bare->count + 1, __ATOMIC_RELEASE);
        bare_step(bare);
    }
    return (double)(now_ns() - begin) / n;
}

static void median_and_least(const char *prefix, const char *id, const char *name, double *spent, unsigned rounds)
{
    const char *full = joined(prefix, id);
    row(full, name, median(spent, rounds), "ns", "", NO_TARGET);
    row(joined(full, ".least"), "    its fastest burst", spent[0], "ns", "", NO_TARGET);
}

static void floors(const char *prefix, struct bare *bare, unsigned n, unsigned rounds)
{
    static const size_t ahead[] = {0, 1024, 2048, 4096};
    static const char *const ahead_ids[] = {"bare_no_prefetch", "bare_1k", "bare_2k", "bare_4k"};
    static const char *const ahead_names[] = {"bare copy, no prefetch", "bare copy, prefetch 1 KiB ahead",
                                              "bare copy, prefetch 2 KiB ahead", "bare copy, prefetch 4 KiB ahead"};
    static double spent[FLOORS + 4][MOST_ROUNDS];
    unsigned round, k;
    for (round = 0; round < rounds; round++) {
        for (k = COPY_FILLED; k < FLOORS; k++)
            spent[k][round] = bare_burst(bare, n, (enum floor_way)k);
        for (k = 0; k < 4; k++) {
            bare->ahead = ahead[k];
            spent[FLOORS + k][round] = bare_burst(bare, n, COPY);
        }
        bare->ahead = 2048;
    }
    for (k = COPY_FILLED; k < FLOORS; k++)
        median_and_least(prefix, floor_ids[k], floor_names[k], spent[k], rounds);
    for (k = 0; k < 4; k++)
        median_and_least(prefix, ahead_ids[k], ahead_names[k], spent[FLOORS + k], rounds);
}

void in_cache(void)
{
    walrec_config_t config = bench.config;
    struct bare bare;
    config.num_blocks = 16;
    config.stage_slots = 1;
    bare = bare_new(&config);
    floors("cached.", &bare, 100000, bench.quick ? 3 : 50);
    bare_free(&bare);
}

static void tell(const char *prefix, double spent[WAYS][MOST_ROUNDS], double ratios[WAYS][MOST_ROUNDS],
                 double of_filled[MOST_ROUNDS], unsigned rounds)
{
    double append, inlined, filled;
    unsigned way;
    for (way = 0; way < WAYS; way++)
        median_and_least(prefix, ids[way], names[way], spent[way], rounds);
    append = median(ratios[BUILT], rounds);
    inlined = median(ratios[INLINED], rounds);
    filled = median(of_filled, rounds);
    row(joined(prefix, "append_to_bare"), "walrec_append, built beforehand : bare copy (pairs)", append, "x",
        "<= 1.15", met_if(append <= 1.15));
    row(joined(prefix, "inline_to_bare"), "inline, filled in place : bare copy (pairs)", inlined, "x", "<= 1.1",
        met_if(inlined <= 1.1));
    row(joined(prefix, "inline_to_fill_append"), "inline, filled in place : fill then append (pairs)", filled, "x",
        "<= 0.5", met_if(filled <= 0.5));
    row(joined(prefix, "in_place_to_bare"), "reserve, fill, commit by the library : bare copy (pairs)",
        median(ratios[IN_PLACE], rounds), "x", "", NO_TARGET);
    row(joined(prefix, "batch_to_bare"), "batch : bare copy (pairs)", median(ratios[IN_BATCHES], rounds), "x", "",
        NO_TARGET);
}

void tight(const char *prefix, walrec_config_t config, unsigned burst_events, unsigned wanted, long rest_ms)
{
    static double spent[WAYS][MOST_ROUNDS], ratios[WAYS][MOST_ROUNDS], of_filled[MOST_ROUNDS];
    static double copies[WAYS * MOST_ROUNDS];
    unsigned round = 0, tries = 0, way, refusals = 0;
    struct bare bare = bare_new(&config);
    struct loop loop;

    memset(&loop, 0, sizeof loop);
    loop.n = burst_events;
    fill(&loop.event, 1);
    for (way = 0; way < BATCH; way++)
        fill(&loop.batch[way], way);
    /* The disk has nothing to do but make them durable: no freezing, no deleting. */
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    config.full_policy = WALREC_FULL_FAIL;
    loop.log = open_log(joined(prefix, "tight"), &config);
    loop.cursor = walrec_inline_cursor(loop.log);
    /* The first round is for warming up: it goes through the pool three times. */
    for (tries = 0; round < wanted && tries < 2 * wanted + 1; tries++) {
        unsigned good = 0;
        for (way = 0; way < WAYS; way++) {
            double append, copy;
            pause_ms(rest_ms);
            copy = bare_burst(&bare, burst_events, COPY);
            append = burst(&loop, (enum way)way);
            expect_ok("walrec_sync", walrec_sync(loop.log, 0, NO_LIMIT));
            good += append > 0;
            spent[way][round] = append;
            ratios[way][round] = append / copy;
            copies[way * MOST_ROUNDS + round] = copy;
        }
        of_filled[round] = spent[INLINED][round] / spent[FILLED][round];
        refusals += good < WAYS;
        round += tries > 0 && good == WAYS;
    }
    expect_ok("walrec_close", walrec_close(loop.log));
    printf("tight loop: %s%u rounds of %u ways, %u events each, %u not counted: the pool ran out in them\n", prefix, round,
           (unsigned)WAYS, burst_events, refusals);
    /* The pairs' copies, packed. */
    for (way = 1; way < WAYS; way++)
        memmove(copies + way * round, copies + way * MOST_ROUNDS, round * sizeof copies[0]);
    median_and_least(prefix, floor_ids[COPY], floor_names[COPY], copies, WAYS * round);
    tell(prefix, spent, ratios, of_filled, round);
    floors(prefix, &bare, burst_events, round);
    bare_free(&bare);
}
