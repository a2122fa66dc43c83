/*
 * What telemetry costs a replay: two builds of the library in one process, in turns.
 *
 *   cc -std=c99 -D_GNU_SOURCE -O2 -I include benches/reader_telemetry.c -ldl -pthread -o reader_telemetry
 *   ./reader_telemetry WITH.so WITHOUT.so [DIRECTORY]
 *
 * One log of .wal segments, in the page cache. A round is one replay of all of it by each library, in an order that changes from
 * round to round; what is told is the processor's time of the whole process, the thread that reads ahead included, as the median
 * over rounds and of the ratios of pairs. The library without is loaded twice: the two copies' ratio is what this measurement cannot
 * tell from nothing.
 */
#include "walrec.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS 786432u
#define ROUNDS 150u
#define KINDS 3
#define BATCH 256u

struct kind {
    const char *name;
    walrec_status_t (*open)(const char *, uint64_t, uint32_t, walrec_reader_t **);
    walrec_status_t (*read)(walrec_reader_t *, walrec_event_t *, size_t, size_t *);
    void (*close)(walrec_reader_t *);
    double ns[ROUNDS];
};

static void fail(const char *what, int number)
{
    fprintf(stderr, "%s: %d\n", what, number);
    exit(1);
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        fail(dlerror(), 0);
    return found;
}

static void *load(const char *file)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail(dlerror(), 0);
    return library;
}

static void record(void *library, const char *dir)
{
    walrec_status_t (*open)(const char *, const walrec_config_t *, walrec_t **);
    walrec_status_t (*append)(walrec_t *, const walrec_event_t *), (*close)(walrec_t *);
    walrec_config_t config;
    walrec_event_t event;
    walrec_t *log;
    *(void **)&open = symbol(library, "walrec_open");
    *(void **)&append = symbol(library, "walrec_append");
    *(void **)&close = symbol(library, "walrec_close");
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.max_segments = config.max_compressed_segments = WALREC_KEEP_ALL;
    config.full_policy = WALREC_FULL_WAIT;
    config.wait_limit_us = 60000000;
    if (open(dir, &config, &log) != WALREC_OK)
        fail("walrec_open", 0);
    memset(&event, 0, sizeof event);
    for (event.event_id = 1; event.event_id <= EVENTS; event.event_id++)
        if (append(log, &event) != WALREC_OK)
            fail("walrec_append", (int)event.event_id);
    if (close(log) != WALREC_OK)
        fail("walrec_close", 0);
}

/* ns of the processor an event. */
static double replay(const struct kind *kind, const char *dir)
{
    static walrec_event_t events[BATCH];
    struct timespec begin, end;
    walrec_reader_t *reader;
    uint64_t expected = 1;
    size_t got, i;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    if (kind->open(dir, 0, 0, &reader) != WALREC_OK)
        fail("walrec_reader_open", 0);
    while (kind->read(reader, events, BATCH, &got) == WALREC_OK)
        for (i = 0; i < got; i++, expected++)
            if (events[i].event_id != expected)
                fail("another event than", (int)expected);
    kind->close(reader);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    if (expected != EVENTS + 1)
        fail("the log ends before", EVENTS);
    return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / EVENTS;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values)
{
    qsort(values, ROUNDS, sizeof values[0], by_value);
    return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static struct kind kinds[KINDS];
    static const char *names[KINDS] = {"without", "without, a copy", "with"};
    static double values[ROUNDS];
    char place[3000], copy[3100], log[3100], command[8000];
    const char *files[KINDS];
    unsigned round, k;
    if (argc < 3)
        fail("reader_telemetry WITH.so WITHOUT.so [DIRECTORY]", argc);
    snprintf(place, sizeof place, "%s/walrec-bench-XXXXXX", argc > 3 ? argv[3] : ".");
    if (mkdtemp(place) == NULL)
        fail(place, 0);
    snprintf(copy, sizeof copy, "%s/copy.so", place);
    snprintf(log, sizeof log, "%s/log", place);
    snprintf(command, sizeof command, "cp '%s' '%s'", argv[2], copy);
    if (system(command) != 0)
        fail(command, 0);
    files[0] = argv[2], files[1] = copy, files[2] = argv[1];
    for (k = 0; k < KINDS; k++) {
        void *library = load(files[k]);
        kinds[k].name = names[k];
        *(void **)&kinds[k].open = symbol(library, "walrec_reader_open");
        *(void **)&kinds[k].read = symbol(library, "walrec_reader_read");
        *(void **)&kinds[k].close = symbol(library, "walrec_reader_close");
        if (k == 0)
            record(library, log);
        /* Touches everything for the first time. */
        (void)replay(&kinds[k], log);
    }
    for (round = 0; round < ROUNDS; round++)
        for (k = 0; k < KINDS; k++) {
            struct kind *kind = &kinds[(k + round) % KINDS];
            kind->ns[round] = replay(kind, log);
        }
    printf("%u replays of %u events, ns of the processor an event\n%-20s %8s %26s\n", ROUNDS, EVENTS, "", "median",
           "to without, of pairs");
    for (k = 0; k < KINDS; k++) {
        double ratio;
        for (round = 0; round < ROUNDS; round++)
            values[round] = kinds[k].ns[round] / kinds[0].ns[round];
        ratio = median_of(values);
        memcpy(values, kinds[k].ns, sizeof values);
        printf("%-20s %8.3f %26.4f\n", kinds[k].name, median_of(values), ratio);
    }
    snprintf(command, sizeof command, "rm -r '%s'", place);
    return system(command) != 0;
}
