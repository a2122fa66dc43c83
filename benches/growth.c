/*
 * What things cost as the work grows: segments, events, blocks of a segment, recorders in one process. `make bench-growth` runs it.
 *
 *   growth [--quick | --full] [--json FILE] [DIRECTORY]
 *
 * Each series is a row for each size, and the exponent of the whole cost: 0 does not grow, 1 grows as the work does. --full goes up to 10,000
 * segments, 100 M events, 131,072 blocks (7 GB of stage) and 64 recorders; --quick is for seeing that it runs.
 */
#include "append/bench.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_POINTS 8u

struct series {
    const char *id, *what, *of, *unit;
    double size[MOST_POINTS], value[MOST_POINTS], whole[MOST_POINTS];
    unsigned n;
};

/* `whole` is what all of the work cost; `value` what is shown. */
static void point(struct series *series, double size, double value, double whole)
{
    if (series->n == MOST_POINTS)
        return;
    series->size[series->n] = size;
    series->value[series->n] = value;
    series->whole[series->n++] = whole;
}

static const char *text_of(const char *format, const char *first, double size, const char *last)
{
    char text[256];
    snprintf(text, sizeof text, format, first, size, last);
    return joined(text, "");
}

/* The rows, and the slope of log(whole) over log(size) by least squares. */
static void tell(const struct series *series)
{
    double x = 0, y = 0, xx = 0, xy = 0, n = series->n;
    unsigned i;
    for (i = 0; i < series->n; i++) {
        double a = log(series->size[i]), b = log(series->whole[i] > 0 ? series->whole[i] : 1e-9);
        x += a, y += b, xx += a * a, xy += a * b;
        row(text_of("%s.%.0f%s", series->id, series->size[i], ""), text_of("%s, %.0f %s", series->what, series->size[i], series->of),
            series->value[i], series->unit, "", NO_TARGET);
    }
    if (series->n > 1)
        row(joined(series->id, ".exponent"), joined(series->what, ": exponent of the whole cost"), (n * xy - x * y) / (n * xx - x * x),
            "", "", NO_TARGET);
    printf("%s: %u sizes\n", series->id, series->n);
}

static void remove_log(const char *name)
{
    remove_tree(place_of(name));
}

/* Kept whole, in segments of so many blocks. */
static walrec_config_t config_of(uint32_t num_blocks, uint32_t stage_slots)
{
    walrec_config_t config = bench.config;
    config.num_blocks = num_blocks;
    config.stage_slots = stage_slots;
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    config.wait_limit_us = 120000000;
    return config;
}

static void append(walrec_t *log, uint64_t n)
{
    uint64_t id = walrec_last_event_id(log), last = id + n;
    walrec_event_t event;
    while (id < last) {
        fill(&event, ++id);
        expect_ok("walrec_append", walrec_append(log, &event));
    }
}

static double open_ms(const char *name, const walrec_config_t *config, walrec_t **log)
{
    uint64_t begin = now_ns();
    *log = open_log(name, config);
    return (double)(now_ns() - begin) / 1e6;
}

/* ---- segments ------------------------------------------------------------- */

static double seek_ms(const char *name, uint64_t id)
{
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    uint64_t begin = now_ns();
    expect_ok("walrec_reader_open", walrec_reader_open(place_of(name), id, 0, &reader));
    expect_ok("walrec_reader_next", walrec_reader_next(reader, &event));
    walrec_reader_close(reader);
    return (double)(now_ns() - begin) / 1e6;
}

static void segments(void)
{
    struct series opens = {"open.segments", "open after a clean close, median", "segments", "ms", {0}, {0}, {0}, 0};
    struct series seeks = {"seek.segments", "reader opened in the middle, and one event", "segments", "ms", {0}, {0}, {0}, 0};
    walrec_config_t config = config_of(16, 6);
    unsigned most = bench.quick ? 40 : bench.full ? 10000 : 1000, n = 0, size, i;
    walrec_t *log = open_log("segments", &config);
    for (size = 10; size <= most; size *= bench.quick ? 2 : 10) {
        double times[5], seek[5];
        append(log, (uint64_t)(size - n) * 4096);
        n = size;
        expect_ok("walrec_close", walrec_close(log));
        for (i = 0; i < 5; i++) {
            times[i] = open_ms("segments", &config, &log);
            seek[i] = seek_ms("segments", (uint64_t)size * 2048);
            if (i < 4)
                expect_ok("walrec_close", walrec_close(log));
        }
        point(&opens, size, median(times, 5), times[2]);
        point(&seeks, size, median(seek, 5), seek[2]);
    }
    expect_ok("walrec_close", walrec_close(log));
    remove_log("segments");
    tell(&opens);
    tell(&seeks);
}

/* ---- events ----------------------------------------------------------------- */

static double replay_ns(const char *name, uint64_t expected)
{
    static walrec_event_t events[1024];
    walrec_reader_t *reader = NULL;
    uint64_t begin = now_ns(), read = 0;
    size_t got = 0;
    walrec_status_t status;
    expect_ok("walrec_reader_open", walrec_reader_open(place_of(name), 0, 0, &reader));
    while ((status = walrec_reader_read(reader, events, 1024, &got)) == WALREC_OK)
        read += got;
    walrec_reader_close(reader);
    if (status != WALREC_END || read != expected)
        fail("replay", status);
    return (double)(now_ns() - begin);
}

static void events(void)
{
    struct series writes = {"append.events", "append and sync, an event", "events", "ns", {0}, {0}, {0}, 0};
    struct series reads = {"replay.events", "replay, an event", "events", "ns", {0}, {0}, {0}, 0};
    walrec_config_t config = config_of(0, 0);
    double most = bench.quick ? 4e5 : bench.full ? 1e8 : 1.6e7, size, least = bench.quick ? 1e5 : 1e6;
    for (size = least; size <= most; size *= bench.full ? 10 : 4) {
        walrec_t *log = open_log("events", &config);
        uint64_t begin = now_ns();
        double spent;
        append(log, (uint64_t)size);
        expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
        spent = (double)(now_ns() - begin);
        expect_ok("walrec_close", walrec_close(log));
        point(&writes, size, spent / size, spent);
        spent = replay_ns("events", (uint64_t)size);
        point(&reads, size, spent / size, spent);
        remove_log("events");
    }
    tell(&writes);
    tell(&reads);
}

/* ---- blocks ------------------------------------------------------------------ */

static void blocks(void)
{
    struct series opens = {"open.blocks", "open of a new log", "blocks", "ms", {0}, {0}, {0}, 0};
    struct series appends = {"append.blocks", "append into a free pool, an event", "blocks", "ns", {0}, {0}, {0}, 0};
    struct series kills = {"killed.blocks", "open after kill -9, three quarters of a segment there", "blocks", "ms", {0}, {0}, {0}, 0};
    unsigned most = bench.quick ? 64 : bench.full ? 131072 : 4096, step = bench.quick ? 2 : 8, size;
    /* The last one is the largest that may be written, whatever the steps. */
    for (size = 16; size <= most; size = size < most && size * step > most ? most : size * step) {
        walrec_config_t config = config_of(size, 3);
        /* Less than a segment: only one may be there yet. */
        uint64_t n = (uint64_t)size * 192, begin;
        double spent;
        walrec_t *log;
        pid_t child;
        spent = open_ms("blocks", &config, &log);
        point(&opens, size, spent, spent);
        begin = now_ns();
        append(log, n);
        spent = (double)(now_ns() - begin);
        point(&appends, size, spent / (double)n, spent);
        expect_ok("walrec_close", walrec_close(log));
        fflush(stdout);
        child = fork();
        if (child == 0) {
            log = open_log("blocks", &config);
            expect_ok("walrec_rotate", walrec_rotate(log));
            append(log, n);
            raise(SIGKILL);
        }
        if (child < 0 || waitpid(child, NULL, 0) != child)
            fail_system("fork");
        spent = open_ms("blocks", &config, &log);
        point(&kills, size, spent, spent);
        expect_ok("walrec_close", walrec_close(log));
        remove_log("blocks");
    }
    tell(&opens);
    tell(&appends);
    tell(&kills);
}

/* ---- recorders --------------------------------------------------------------- */

static void recorders(void)
{
    enum { MOST = 64, EVENTS = 8000 };
    static walrec_t *logs[MOST];
    struct series opens = {"open.recorders", "open of a new log beside the others, each", "recorders", "ms", {0}, {0}, {0}, 0};
    struct series appends = {"append.recorders", "append, one event to each in turns", "recorders", "ns", {0}, {0}, {0}, 0};
    struct series syncs = {"sync.recorders", "all of them durable, each", "recorders", "ms", {0}, {0}, {0}, 0};
    walrec_config_t config = config_of(16, 4);
    unsigned most = bench.quick ? 4 : MOST, size, i;
    for (size = 1; size <= most; size *= 4) {
        uint64_t begin = now_ns(), id;
        double spent;
        char name[32];
        for (i = 0; i < size; i++) {
            snprintf(name, sizeof name, "recorder-%u", i);
            logs[i] = open_log(name, &config);
        }
        spent = (double)(now_ns() - begin) / 1e6;
        point(&opens, size, spent / size, spent);
        pause_ms(500);
        begin = now_ns();
        for (id = 1; id <= EVENTS; id++)
            for (i = 0; i < size; i++) {
                walrec_event_t event;
                fill(&event, id);
                expect_ok("walrec_append", walrec_append(logs[i], &event));
            }
        spent = (double)(now_ns() - begin);
        point(&appends, size, spent / size / EVENTS, spent);
        begin = now_ns();
        for (i = 0; i < size; i++)
            expect_ok("walrec_sync", walrec_sync(logs[i], 0, NO_LIMIT));
        spent = (double)(now_ns() - begin) / 1e6;
        point(&syncs, size, spent / size, spent);
        for (i = 0; i < size; i++) {
            expect_ok("walrec_close", walrec_close(logs[i]));
            snprintf(name, sizeof name, "recorder-%u", i);
            remove_log(name);
        }
    }
    tell(&opens);
    tell(&appends);
    tell(&syncs);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    about("walrec", "%s%s", walrec_version_string(), bench.full ? "" : ", not at full size");
    about("cpus", "%ld online", sysconf(_SC_NPROCESSORS_ONLN));
    segments();
    events();
    blocks();
    recorders();
    return end("what things cost as the work grows");
}
