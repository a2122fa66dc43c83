/* What the parts of the benchmark of the append path share: statuses, the timer, histograms, events, the bare copy, and the rows. */
#ifndef WALREC_BENCH_H
#define WALREC_BENCH_H

#include "walrec.h"
#include "walrec_inline.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define SEGMENT_EVENTS 131072u
#define SEGMENT_BYTES 8421440u
#define STAGE_SLOTS 6u
#define SECOND_NS UINT64_C(1000000000)
#define NO_LIMIT UINT64_MAX

/* Set once, by begin. */
struct bench {
    int quick, full;
    const char *json;
    int pinned;
    const char *place; /* a directory for logs, removed at the end */
    walrec_config_t config;
};
extern struct bench bench;
/* Reads [--quick | --full] [--json FILE] [DIRECTORY], makes a place for logs in the directory, and gets the timer ready. */
void begin(int argc, char **argv);
/* Prints rows and curves, writes the JSON, removes the place; main's result. */
int end(const char *title);
/* The directory with all that is in it. */
void remove_tree(const char *path);

void fail(const char *what, walrec_status_t status) __attribute__((noreturn));
void fail_system(const char *what) __attribute__((noreturn));
void expect_ok(const char *what, walrec_status_t status);
walrec_t *open_log(const char *name, const walrec_config_t *config);
void pause_ms(long ms);
/* A name below bench.place; good until the next call but seven. */
const char *place_of(const char *name);

/* ---- the parts ------------------------------------------------------------ */

/* `prefix` stands before the rows' ids; the config says where the stage is. Bursts of that many, so many rounds, a rest before each. */
void tight(const char *prefix, walrec_config_t config, unsigned burst_events, unsigned wanted, long rest_ms);
/* The bare copies alone, in a ring that stays in this core's cache. */
void in_cache(void);
/* One append each `interval_ns`, at length: rotation, sync, freezing and deletion run beside it. */
void paced(const char *prefix, walrec_config_t config, uint64_t interval_ns, uint64_t events);
/* The same in bursts that the pool takes, each after a sync. */
void paced_bursts(const char *prefix, walrec_config_t config, uint64_t interval_ns, unsigned bursts);
/* 99th percentile of a bare 64 KiB write and sync, into extents that were written before. */
double bare_sync_p99_us(void);
void throughput(walrec_config_t config);
void open_after_kill(walrec_config_t config);
void memory(walrec_config_t config);

/* ---- rows and curves ------------------------------------------------------ */

enum met { NO_TARGET = -1, MISSED, MET };
/* `id` is for programs, `what` for people; both and the target's text are kept as they are. */
void row(const char *id, const char *what, double value, const char *unit, const char *target, enum met met);
static inline enum met met_if(int yes) { return yes ? MET : MISSED; }
/* `prefix` and `name` put together, kept for good. */
const char *joined(const char *prefix, const char *name);
/* A line about the machine or the run, for the top of the table and for the JSON. */
void about(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- histograms ------------------------------------------------------------ */

#define LINEAR 8192u
#define OCTAVES 30u
#define CELLS (LINEAR + OCTAVES * 128u)
/* Of ticks: exact below 8,192, above within 1/128. */
struct histogram {
    uint64_t count, most;
    uint64_t cells[CELLS];
};

struct histogram *histogram_new(void);
double quantile_ns(const struct histogram *histogram, double q);
/* Of the lower 99 %: finer than the steps of the timer. */
double mean_ns(const struct histogram *histogram);
/* Keeps the percentiles of it under a name for the plots. */
void curve(const char *name, const struct histogram *histogram);
extern const double quantiles[];
extern const char *const quantile_names[];
#define QUANTILES 7

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    unsigned cell;
    if (value < LINEAR) {
        cell = (unsigned)value;
    } else {
        unsigned octave = 63u - (unsigned)__builtin_clzll(value);
        cell = LINEAR + (octave - 13) * 128 + ((unsigned)(value >> (octave - 7)) & 127);
        cell = cell < CELLS ? cell : CELLS - 1;
    }
    histogram->cells[cell]++;
    histogram->count++;
    histogram->most = value > histogram->most ? value : histogram->most;
}

/* ---- the timer ----------------------------------------------------------- */

extern double ticks_per_ns;
void calibrate(void);
/* The smallest difference between two measurements of nothing, in nanoseconds. */
double timer_step_ns(void);

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

#if defined(__x86_64__)
/* Everything before has ended, nothing after has begun. */
static inline uint64_t ticks_begin(void)
{
    __builtin_ia32_lfence();
    return __builtin_ia32_rdtsc();
}

static inline uint64_t ticks_end(void)
{
    unsigned cpu;
    uint64_t t = __builtin_ia32_rdtscp(&cpu);
    __builtin_ia32_lfence();
    return t;
}

static inline uint64_t ticks_now(void)
{
    return __builtin_ia32_rdtsc();
}
#else
static inline uint64_t ticks_begin(void) { return now_ns(); }
static inline uint64_t ticks_end(void) { return now_ns(); }
static inline uint64_t ticks_now(void) { return now_ns(); }
#endif

/* ---- events ---------------------------------------------------------------- */

/* What an engine has in its hands when it makes an event. */
struct request {
    uint64_t timestamp_ns;
    int64_t price, quantity;
    uint32_t user_id, order_id;
    uint8_t type, order_type, side, text[17];
};
#define REQUESTS 128u
extern struct request requests[REQUESTS];
void requests_make(void);

/* Every field on its own, as an engine does it. */
static inline void fill(walrec_event_t *event, uint64_t id)
{
    const struct request *request = &requests[id % REQUESTS];
    event->event_id = id;
    event->timestamp_ns = request->timestamp_ns;
    event->price = request->price;
    event->quantity = request->quantity;
    event->user_id = request->user_id;
    event->order_id = request->order_id;
    event->type = request->type;
    event->order_type = request->order_type;
    event->side = request->side;
    memcpy(event->user_bytes, request->text, sizeof event->user_bytes);
}

/* As the library does it: eight 64-bit loads and stores. */
static inline void copy_64(uint64_t *to, const uint64_t *from)
{
    int k;
    for (k = 0; k < 8; k++) {
        uint64_t word = from[k];
        __asm__ __volatile__("" : "+r"(word));
        to[k] = word;
    }
}

static inline void prefetch_for_write(const unsigned char *at)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*at));
#else
    __builtin_prefetch(at, 1);
#endif
}

/* ---- the bare copy ---------------------------------------------------------- */

/* Memory of the stage's kind and size, on the same file system. */
struct bare {
    unsigned char *memory;
    size_t bytes, at, ahead;
    uint64_t *count;
};
struct bare bare_new(const walrec_config_t *config);
void bare_free(struct bare *bare);

static inline void bare_step(struct bare *bare)
{
    bare->at += 64;
    if (bare->at == bare->bytes)
        bare->at = 0;
}

/* The floor: 64 bytes, a prefetch, a count. */
static inline void bare_copy(struct bare *bare, const walrec_event_t *event)
{
    unsigned char *to = bare->memory + bare->at;
    prefetch_for_write(to + bare->ahead);
    copy_64((uint64_t *)(void *)to, (const uint64_t *)(const void *)event);
    __atomic_store_n(bare->count, *bare->count + 1, __ATOMIC_RELEASE);
    bare_step(bare);
}

double median(double *values, size_t n);

#endif
