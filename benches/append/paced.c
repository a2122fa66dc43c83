/*
 * Paced: one append each so many nanoseconds, whatever the one before took. Service time is the call's own; response time counts from
 * the moment at which the append was to begin, so that one slow append is seen in all that it made late. Half-way between two
 * appends the same is measured of nothing, and of a bare copy, in turns: the floors of the same moments.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LAG_EVERY 64u
#define LAG_PENDING 4096u

struct pace {
    walrec_t *log;
    struct bare bare;
    struct histogram *service, *response, *timer, *copy, *rotation, *lag;
    struct {
        uint64_t id, ticks;
    } pending[LAG_PENDING];
    unsigned first, last; /* of pending */
    walrec_event_t event;
    uint64_t id, interval, late, dropped_lags;
};

/* How long ago the events that have become durable were appended; one of LAG_EVERY is followed. */
static inline void follow(struct pace *pace, uint64_t id, uint64_t appended)
{
    uint64_t durable = walrec_durable_event_id(pace->log);
    while (pace->first != pace->last && pace->pending[pace->first % LAG_PENDING].id <= durable) {
        histogram_add(pace->lag, ticks_now() - pace->pending[pace->first % LAG_PENDING].ticks);
        pace->first++;
    }
    if (id % LAG_EVERY != 0)
        return;
    if (pace->last - pace->first == LAG_PENDING) {
        pace->dropped_lags++;
        return;
    }
    pace->pending[pace->last % LAG_PENDING].id = id;
    pace->pending[pace->last % LAG_PENDING].ticks = appended;
    pace->last++;
}

static void run(struct pace *pace, uint64_t events, int with_lag)
{
    uint64_t next = ticks_now() + pace->interval, begin, end, i;
    for (i = 0; i < events; i++, next += pace->interval) {
        walrec_status_t status;
        fill(&pace->event, ++pace->id);
        while ((begin = ticks_now()) < next) {
        }
        pace->late += begin > next + pace->interval;
        begin = ticks_begin();
        status = walrec_append(pace->log, &pace->event);
        end = ticks_end();
        if (status != WALREC_OK)
            fail("walrec_append", status);
        histogram_add(pace->service, end - begin);
        histogram_add(pace->response, end - next);
        if (pace->id % SEGMENT_EVENTS == 1)
            histogram_add(pace->rotation, end - begin);
        if (with_lag)
            follow(pace, pace->id, end);
        /* The floors, where there is time for them. */
        while (ticks_now() < next + pace->interval / 2) {
        }
        if (ticks_now() > next + pace->interval / 2 + pace->interval / 4)
            continue;
        begin = ticks_begin();
        if (i % 2 != 0)
            bare_copy(&pace->bare, &pace->event);
        end = ticks_end();
        histogram_add(i % 2 != 0 ? pace->copy : pace->timer, end - begin);
    }
}

static struct pace *pace_new(const char *name, const walrec_config_t *config, uint64_t interval_ns)
{
    struct pace *pace = calloc(1, sizeof *pace);
    unsigned i;
    if (pace == NULL)
        fail_system("calloc");
    pace->service = histogram_new();
    pace->response = histogram_new();
    pace->timer = histogram_new();
    pace->copy = histogram_new();
    pace->rotation = histogram_new();
    pace->lag = histogram_new();
    pace->interval = (uint64_t)((double)interval_ns * ticks_per_ns);
    pace->bare = bare_new(config);
    pace->log = open_log(name, config);
    /* The pool is used twice before anything counts. */
    for (i = 0; i < 2 * STAGE_SLOTS * SEGMENT_EVENTS; i++) {
        fill(&pace->event, ++pace->id);
        expect_ok("walrec_append", walrec_append(pace->log, &pace->event));
    }
    expect_ok("walrec_sync", walrec_sync(pace->log, 0, NO_LIMIT));
    pause_ms(500);
    return pace;
}

static void pace_free(struct pace *pace)
{
    struct histogram *all[6];
    unsigned i;
    all[0] = pace->service, all[1] = pace->response, all[2] = pace->timer;
    all[3] = pace->copy, all[4] = pace->rotation, all[5] = pace->lag;
    for (i = 0; i < 6; i++)
        free(all[i]);
    bare_free(&pace->bare);
    free(pace);
}

static void curves(const char *prefix, const struct pace *pace)
{
    curve(joined(prefix, "append, service"), pace->service);
    curve(joined(prefix, "append, response"), pace->response);
    curve(joined(prefix, "timer alone"), pace->timer);
    curve(joined(prefix, "bare copy"), pace->copy);
    if (pace->lag->count > 0)
        curve(joined(prefix, "append to durable"), pace->lag);
}

/* Service time over the timer's own, at one percentile. */
static void over_floor(const char *prefix, const struct pace *pace, unsigned k, double target)
{
    double over = quantile_ns(pace->service, quantiles[k]) - quantile_ns(pace->timer, quantiles[k]);
    char *what = malloc(96), *text = malloc(32);
    if (what == NULL || text == NULL)
        fail_system("malloc");
    snprintf(what, 96, "%sappend over the timer's floor, %s", prefix, quantile_names[k]);
    snprintf(text, 32, "<= %.0f", target);
    row(joined(prefix, quantile_names[k]), what, over, "ns", target > 0 ? text : "", target > 0 ? met_if(over <= target) : NO_TARGET);
}

static void rest_of_service(const char *prefix, const struct pace *pace)
{
    row(joined(prefix, "mean"), joined(prefix, "append over the timer's floor, mean of the lower 99 %"),
        mean_ns(pace->service) - mean_ns(pace->timer), "ns", "", NO_TARGET);
    row(joined(prefix, "bare_mean"), joined(prefix, "bare copy over the timer's floor, mean of the lower 99 %"),
        mean_ns(pace->copy) - mean_ns(pace->timer), "ns", "", NO_TARGET);
    row(joined(prefix, "late"), joined(prefix, "appends begun more than an interval late"), (double)pace->late, "", "",
        NO_TARGET);
}

static uint64_t faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

static void lag_rows(const char *prefix, const struct pace *pace, uint32_t interval_us, double bare_p99_us)
{
    double allowed = (double)interval_us + 2 * bare_p99_us, p99 = quantile_ns(pace->lag, 0.99) / 1e3;
    char *text = malloc(64);
    if (text == NULL)
        fail_system("malloc");
    snprintf(text, 64, "<= %.0f (interval + 2 x bare)", allowed);
    row(joined(prefix, "lag_p50"), "append to durable, p50", quantile_ns(pace->lag, 0.5) / 1e3, "us", "", NO_TARGET);
    row(joined(prefix, "lag_p99"), "append to durable, p99", p99, "us", text, met_if(p99 <= allowed));
    row(joined(prefix, "bare_sync_p99"), "bare 64 KiB O_DIRECT write + fdatasync, p99, before and after", bare_p99_us, "us",
        "", NO_TARGET);
}

static void telemetry_rows(const char *prefix, walrec_t *log)
{
    static walrec_telemetry_t telemetry;
    telemetry.struct_size = sizeof telemetry;
    if (walrec_telemetry(log, &telemetry) != WALREC_OK)
        return;
    row(joined(prefix, "frozen"), "segments frozen meanwhile", (double)telemetry.segments_frozen, "", "", NO_TARGET);
    row(joined(prefix, "deleted"), "segments deleted meanwhile", (double)telemetry.segments_deleted, "", "", NO_TARGET);
}

void paced(const char *prefix, walrec_config_t config, uint64_t interval_ns, uint64_t events)
{
    /* By percentile, for 1 M/s: p50, p90, p99, p99.9, p99.99; the second with huge pages. */
    static const double targets[2][5] = {{5, 0, 15, 80, 400}, {5, 0, 15, 60, 250}};
    int at_one_million = interval_ns == 1000, huge = config.stage_dir != NULL;
    double bare_us = 0, seconds;
    struct pace *pace;
    uint64_t begin, faulted;
    unsigned k;

    /* Few are kept, so that freezing and deletion run too. */
    config.max_segments = 8;
    config.max_compressed_segments = 8;
    pace = pace_new(joined(prefix, "paced"), &config, interval_ns);
    bare_us = bare_sync_p99_us();
    faulted = faults();
    begin = now_ns();
    run(pace, events, 1);
    seconds = (double)(now_ns() - begin) / 1e9;
    faulted = faults() - faulted;
    expect_ok("walrec_sync", walrec_sync(pace->log, 0, NO_LIMIT));
    bare_us = (bare_us + bare_sync_p99_us()) / 2;

    printf("paced: %s%" PRIu64 " appends in %.2f s (%.3f M/s), %" PRIu64 " begun more than an interval late\n", prefix, events,
           seconds, (double)events / seconds / 1e6, pace->late);
    for (k = 0; k < QUANTILES; k++)
        over_floor(prefix, pace, k, at_one_million && k < 5 ? targets[huge][k] : 0);
    rest_of_service(prefix, pace);
    row(joined(prefix, "faults"), joined(prefix, "page faults on the append thread"), (double)faulted, "", "0",
        met_if(faulted == 0));
    if (at_one_million) {
        double rotation = quantile_ns(pace->rotation, 1) - quantile_ns(pace->timer, 0.5);
        row(joined(prefix, "rotations"), "rotations", (double)pace->rotation->count, "", "", NO_TARGET);
        row(joined(prefix, "rotation_p50"), "rotation, over the timer's p50, p50",
            quantile_ns(pace->rotation, 0.5) - quantile_ns(pace->timer, 0.5), "ns", "", NO_TARGET);
        row(joined(prefix, "rotation_max"), "rotation, over the timer's p50, max", rotation, "ns", "<= 1000",
            met_if(rotation <= 1000));
        lag_rows(prefix, pace, config.flush_interval_us == 0 ? 200 : config.flush_interval_us, bare_us);
        telemetry_rows(prefix, pace->log);
    }
    curves(prefix, pace);
    expect_ok("walrec_close", walrec_close(pace->log));
    pace_free(pace);
}

void paced_bursts(const char *prefix, walrec_config_t config, uint64_t interval_ns, unsigned bursts)
{
    struct pace *pace;
    unsigned burst, k;
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    pace = pace_new(joined(prefix, "paced"), &config, interval_ns);
    for (burst = 0; burst < bursts; burst++) {
        run(pace, 500000, 0);
        expect_ok("walrec_sync", walrec_sync(pace->log, 0, NO_LIMIT));
        pause_ms(bench.quick ? 50 : 150);
    }
    printf("paced: %s%u bursts of 500,000, %" PRIu64 " begun more than an interval late\n", prefix, bursts, pace->late);
    for (k = 0; k < QUANTILES; k++)
        over_floor(prefix, pace, k, 0);
    rest_of_service(prefix, pace);
    curves(prefix, pace);
    expect_ok("walrec_close", walrec_close(pace->log));
    pace_free(pace);
}
