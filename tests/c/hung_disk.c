/*
 * A disk that hangs, or a flusher that does not run: the append thread does not notice until the stage is full. Then the policy, and when
 * the disk runs again, so does everything.
 *
 * `hung_disk WORK HAND PLACE BLOCKS ROUNDS`: see hand.h for the hands. Each round appends as many events at the same pace with everything
 * running and with it stopped; the two latencies are printed side by side and not judged. What is judged: each event that the stage had
 * room for was accepted, and no append failed before.
 */
#include "check.h"
#include "hand.h"

#define SLOTS 6u
#define PACE_NS 1000u /* an event each microsecond */
#define WAIT_LIMIT_US 150000u

static struct hand hand;
static uint32_t blocks;

static walrec_config_t config_of(uint32_t policy)
{
    walrec_config_t config = config_small();
    config.num_blocks = blocks;
    config.stage_slots = SLOTS;
    /* Few, so that a small disk is not filled. */
    config.flags = WALREC_FLAG_NO_COMPRESS;
    config.max_segments = 2;
    config.max_compressed_segments = 1;
    config.full_policy = policy;
    config.wait_limit_us = WAIT_LIMIT_US;
    return config;
}

static walrec_telemetry_t telemetry_of(const walrec_t *log)
{
    walrec_telemetry_t now;
    memset(&now, 0, sizeof now);
    now.struct_size = sizeof now;
    REQUIRE_STATUS(WALREC_OK, walrec_telemetry(log, &now));
    return now;
}

/* ---- latency -------------------------------------------------------------- */

static uint32_t *samples[2];
static size_t taken[2], room_for_samples;

static void keep_sample(int stopped, uint64_t ns)
{
    if (taken[stopped] < room_for_samples)
        samples[stopped][taken[stopped]++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_latency(const char *name)
{
    uint32_t p[2][3];
    int i;
    for (i = 0; i < 2; i++) {
        size_t n = taken[i];
        REQUIRE(n > 0);
        qsort(samples[i], n, sizeof *samples[i], by_size);
        p[i][0] = samples[i][n / 2];
        p[i][1] = samples[i][n - 1 - n / 10000];
        p[i][2] = samples[i][n - 1];
    }
    printf("FIGURE %s: one append in ns with the timer's own, stopped and running side by side, %zu each at 1 M/s: p50 %u and %u, "
           "p99.99 %u and %u, max %u and %u\n",
           name, taken[1], p[1][0], p[0][0], p[1][1], p[0][1], p[1][2], p[0][2]);
}

/* ---- what is done in each round ------------------------------------------- */

static uint64_t last;

/* Everything durable, every free slot prepared; gives what the stage has room for. */
static uint64_t settle(walrec_t *log)
{
    walrec_telemetry_t now;
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 30 * SECOND_NS));
    do {
        pause_us(1000);
        now = telemetry_of(log);
    } while (now.prepared_now + 1 < SLOTS || now.written_now != 0);
    CHECK_U64(last, now.durable_event_id);
    return now.stage_room_events;
}

/* Appends `count` at the pace; each is accepted. */
static void append_paced(walrec_t *log, uint64_t count, int stopped)
{
    uint64_t due = now_ns(), i;
    for (i = 0; i < count; i++, due += PACE_NS) {
        walrec_event_t event = event_of(last + 1);
        uint64_t begin;
        walrec_status_t status;
        while ((begin = now_ns()) < due)
            relax();
        status = walrec_append(log, &event);
        keep_sample(stopped, now_ns() - begin);
        if (status != WALREC_OK)
            REQUIRE_STATUS(WALREC_OK, status);
        last++;
    }
    check_done++;
}

struct asked {
    walrec_t *log;
    char text[65536];
};

/* From another thread, while nothing can be written. */
static void *ask(void *argument)
{
    struct asked *a = argument;
    walrec_telemetry_t now = telemetry_of(a->log);
    size_t needed = 0;
    CHECK_U64(last, now.last_event_id);
    CHECK(now.durable_event_id < last);
    CHECK_U64(0, now.poisoned);
    CHECK_U64(0, now.prepared_now);
    CHECK_STATUS(WALREC_OK, walrec_telemetry_text(a->log, WALREC_TEXT_PROMETHEUS, a->text, sizeof a->text, &needed));
    CHECK(needed > 0 && needed <= sizeof a->text);
    CHECK_STATUS(WALREC_E_TIMEOUT, walrec_sync(a->log, last, 20 * 1000 * 1000));
    CHECK_STATUS(WALREC_E_TIMEOUT, walrec_sync(a->log, 0, 0));
    CHECK_U64(last, walrec_last_event_id(a->log));
    return NULL;
}

/* The stage is full: the policy, and nothing half recorded. */
static void refused(walrec_t *log, uint32_t policy)
{
    walrec_meta_state_t state;
    walrec_event_t event = event_of(last + 1), *slot = (walrec_event_t *)(uintptr_t)64;
    size_t done = 77;
    int i;
    for (i = 0; i < 2; i++) {
        uint64_t begin = now_ns(), took;
        CHECK_STATUS(WALREC_E_BACKPRESSURE, walrec_append(log, &event));
        took = now_ns() - begin;
        /* From below only: how long it takes to be told is the machine's affair. */
        CHECK(policy != WALREC_FULL_WAIT || took >= WAIT_LIMIT_US * UINT64_C(1000));
        CHECK_U64(last, walrec_last_event_id(log));
    }
    CHECK_STATUS(WALREC_E_BACKPRESSURE, walrec_append_batch(log, &event, 1, &done));
    CHECK_U64(0, done);
    CHECK_STATUS(WALREC_E_BACKPRESSURE, walrec_reserve(log, &slot));
    CHECK(slot == NULL);
    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(last, state.last_event_id);
}

static void stop(void)
{
    REQUIRE(hand_order(&hand, 's', thread_named("walrec-flush")));
}

static void go(void)
{
    REQUIRE(hand_order(&hand, 'g', 0));
}

static void stopped_and_on(walrec_t *log, uint32_t policy)
{
    struct asked asked;
    walrec_telemetry_t now;
    uint64_t room = settle(log), durable;
    append_paced(log, room, 0);
    settle(log);
    stop();
    now = telemetry_of(log);
    room = now.stage_room_events;
    durable = now.durable_event_id;
    /* All slots but the one in use are ready, and that one is not full. */
    CHECK(room > (SLOTS - 1) * blocks * EVENTS_PER_BLOCK || room == (SLOTS - 1) * blocks * EVENTS_PER_BLOCK);
    append_paced(log, room, 1);
    refused(log, policy);
    asked.log = log;
    on_other_thread(ask, &asked);
    CHECK_U64(durable, walrec_durable_event_id(log));
    go();
    /* By itself. */
    while (last < walrec_last_event_id(log) + 1) {
        walrec_event_t event = event_of(last + 1);
        walrec_status_t status = walrec_append(log, &event);
        if (status == WALREC_OK) {
            last++;
            break;
        }
        REQUIRE_STATUS(WALREC_E_BACKPRESSURE, status);
        pause_us(100);
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 30 * SECOND_NS));
    CHECK_U64(last, walrec_durable_event_id(log));
}

struct closing {
    walrec_t *log;
    uint32_t done;
};

static void *close_it(void *argument)
{
    struct closing *c = argument;
    CHECK_STATUS(WALREC_OK, walrec_close(c->log));
    __atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* A close waits for the disk, and then ends well. */
static void closed_while_stopped(walrec_t *log)
{
    struct closing c = {log, 0};
    pthread_t thread;
    settle(log);
    stop();
    append_paced(log, 1000, 1);
    REQUIRE(pthread_create(&thread, NULL, close_it, &c) == 0);
    /* It could not have ended however long this is. */
    pause_us(200000);
    CHECK(__atomic_load_n(&c.done, __ATOMIC_ACQUIRE) == 0);
    go();
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(c.done == 1);
}

/* What retention has left of it, whole to the end. */
static void check_log(const char *dir, uint64_t end)
{
    walrec_verify_report_t report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, &report));
    CHECK_U64(0, report.fault_reason);
    CHECK_U64(end, report.last_event_id);
    log_holds(dir, report.first_event_id, end);
}

static void with_policy(uint32_t policy, unsigned rounds)
{
    const char *dir = path(policy == WALREC_FULL_WAIT ? "wait" : "fail");
    walrec_config_t config = config_of(policy);
    walrec_t *log = log_open(dir, &config);
    last = 0;
    while (rounds-- > 0)
        stopped_and_on(log, policy);
    closed_while_stopped(log);
    check_log(dir, last);
}

/* A disk that stops for 20 ms again and again: WAIT takes it all, and all of it is durable in the end. */
static void trembling(void)
{
    const char *dir = path("trembling");
    walrec_config_t config = config_of(WALREC_FULL_WAIT);
    uint64_t begin, end = (uint64_t)SLOTS * 2 * blocks * EVENTS_PER_BLOCK;
    walrec_telemetry_t now;
    walrec_t *log;
    config.wait_limit_us = 30000000;
    log = log_open(dir, &config);
    REQUIRE(hand_order(&hand, 't', thread_named("walrec-flush")));
    begin = now_ns();
    append_range(log, 1, end);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 30 * SECOND_NS));
    now = telemetry_of(log);
    go();
    printf("FIGURE slow disk, stopped for 20 of each 22 ms or more: %" PRIu64 " events durable in %" PRIu64 " ms, the append thread waited %"
           PRIu64 " times, 0 refused\n",
           end, (now_ns() - begin) / 1000000, now.prepared_wait.count);
    CHECK(now.prepared_wait.count > 0);
    CHECK_U64(0, now.backpressure + now.no_space);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    check_log(dir, end);
}

int main(int argc, char **argv)
{
    unsigned rounds, i;
    char name[64];
    if (argc < 6) {
        fprintf(stderr, "usage: hung_disk WORK trace|freezer|disk PLACE BLOCKS ROUNDS\n");
        return 2;
    }
    check_begin(argc, argv, 240);
    blocks = (uint32_t)strtoul(argv[4], NULL, 10);
    rounds = (unsigned)strtoul(argv[5], NULL, 10);
    room_for_samples = (size_t)(rounds + 1) * 2 * SLOTS * blocks * EVENTS_PER_BLOCK;
    for (i = 0; i < 2; i++) {
        samples[i] = malloc(room_for_samples * sizeof *samples[i]);
        REQUIRE(samples[i] != NULL);
        /* Touched now: a page fault between two clocks would be the subject's own. */
        memset(samples[i], 1, room_for_samples * sizeof *samples[i]);
    }
    hand_start(&hand, argv[2], argv[3]);
    if (hand.kind == HAND_DISK) {
        REQUIRE(hand_order(&hand, 's', 0));
        go();
    } else {
        /* The hand itself is tried first: where the system forbids it, nothing is proved. */
        walrec_config_t config = config_of(WALREC_FULL_FAIL);
        walrec_t *log = log_open(path("tried"), &config);
        int can = hand_order(&hand, 's', thread_named("walrec-flush"));
        if (can)
            go();
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        if (!can) {
            printf("SKIP hung_disk: a stopped flusher was NOT tested by %s: the system does not let one process stop a thread of another\n",
                   argv[2]);
            return check_end();
        }
    }
    with_policy(WALREC_FULL_FAIL, rounds);
    with_policy(WALREC_FULL_WAIT, rounds);
    snprintf(name, sizeof name, "hung disk (%s)", argv[2]);
    print_latency(name);
    trembling();
    hand_end(&hand);
    return check_end();
}
