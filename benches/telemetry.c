/*
 * What telemetry costs an append: two builds of the library in one process, in turns.
 *
 *   cc -std=c99 -D_GNU_SOURCE -O2 -I include benches/telemetry.c -ldl -pthread -o telemetry
 *   ./telemetry WITH.so WITHOUT.so [DIRECTORY]
 *
 * Each library records into a log of its own. A round is one burst of appends into each of them, after a sync and a pause, in an
 * order that changes from round to round; what is told is the median over rounds of each, and of the differences of pairs. The
 * library without is loaded twice: the two copies' difference is what this measurement cannot tell from nothing. A third log of the
 * library with telemetry does not sample, and a fourth samples 32 times as often: what that costs more, by 32, is the cost of the
 * default, and stands out of the noise.
 */
#include "walrec.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BURST 60000u
#define ROUNDS 400u
#define KINDS 5
/* Often enough for the cost of one sample to stand out. */
#define OFTEN 32u

struct kind {
    const char *name, *file;
    uint32_t sample;
    walrec_status_t (*append)(walrec_t *, const walrec_event_t *);
    walrec_status_t (*sync)(walrec_t *, uint64_t, uint64_t);
    walrec_status_t (*close)(walrec_t *);
    walrec_t *log;
    walrec_event_t event;
    double ns[ROUNDS];
};

static void fail(const char *what, int number)
{
    fprintf(stderr, "%s: %d\n", what, number);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pause_ms(long ms)
{
    struct timespec t = {0, 0};
    t.tv_nsec = ms * 1000000;
    nanosleep(&t, NULL);
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        fail(dlerror(), 0);
    return found;
}

static void start(struct kind *kind, const char *place, unsigned number)
{
    char dir[4096];
    walrec_config_t config;
    walrec_status_t (*open)(const char *, const walrec_config_t *, walrec_t **), status;
    void *library = dlopen(kind->file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail(dlerror(), 0);
    *(void **)&open = symbol(library, "walrec_open");
    *(void **)&kind->append = symbol(library, "walrec_append");
    *(void **)&kind->sync = symbol(library, "walrec_sync");
    *(void **)&kind->close = symbol(library, "walrec_close");
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.num_blocks = 64;
    config.max_segments = config.max_compressed_segments = WALREC_KEEP_ALL;
    config.append_sample = kind->sample;
    config.full_policy = WALREC_FULL_FAIL;
    config.cpu_prepare = config.cpu_flush = config.cpu_maintain = config.cpu_meta = 1;
    snprintf(dir, sizeof dir, "%s/%u", place, number);
    status = open(dir, &config, &kind->log);
    if (status != WALREC_OK)
        fail("walrec_open", status);
}

/* ns an event; below 0 when the pool ran out. */
static double burst(struct kind *kind)
{
    uint64_t begin, end;
    unsigned i;
    int refused = 0;
    if (kind->sync(kind->log, 0, UINT64_MAX) != WALREC_OK)
        fail("walrec_sync", 0);
    pause_ms(8);
    begin = now_ns();
    for (i = 0; i < BURST && !refused; i++) {
        kind->event.event_id++;
        refused = kind->append(kind->log, &kind->event) != WALREC_OK;
        kind->event.event_id -= (unsigned)refused;
    }
    end = now_ns();
    return refused ? -1 : (double)(end - begin) / BURST;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, unsigned n, double part)
{
    qsort(values, n, sizeof values[0], by_value);
    return n == 0 ? 0 : values[(unsigned)((n - 1) * part)];
}

int main(int argc, char **argv)
{
    static struct kind kinds[KINDS];
    static double values[ROUNDS];
    char place[3000], copy[3100], command[8000];
    unsigned round, k, n = 0, tries = 0;
    cpu_set_t set;
    if (argc < 3)
        fail("telemetry WITH.so WITHOUT.so [DIRECTORY]", argc);
    snprintf(place, sizeof place, "%s/walrec-bench-XXXXXX", argc > 3 ? argv[3] : ".");
    if (mkdtemp(place) == NULL)
        fail(place, 0);
    snprintf(copy, sizeof copy, "%s/copy.so", place);
    snprintf(command, sizeof command, "cp '%s' '%s'", argv[2], copy);
    if (system(command) != 0)
        fail(command, 0);
    kinds[0] = (struct kind){.name = "without", .file = argv[2]};
    kinds[1] = (struct kind){.name = "without, a copy", .file = copy};
    kinds[2] = (struct kind){.name = "with, 1 in 1,024", .file = argv[1]};
    kinds[3] = (struct kind){.name = "with, not sampled", .file = argv[1], .sample = UINT32_MAX};
    kinds[4] = (struct kind){.name = "with, 1 in 32", .file = argv[1], .sample = OFTEN};
    CPU_ZERO(&set);
    CPU_SET((unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    for (k = 0; k < KINDS; k++)
        start(&kinds[k], place, k);
    for (round = 0; n < ROUNDS && tries < 2 * ROUNDS; round++, tries++) {
        int whole = 1;
        for (k = 0; k < KINDS; k++) {
            struct kind *kind = &kinds[(k + round) % KINDS];
            kind->ns[n] = burst(kind);
            whole &= kind->ns[n] > 0;
        }
        /* The first rounds touch everything for the first time. */
        n += whole && tries >= 10;
    }
    printf("%u rounds of bursts of %u appends, ns an append\n%-20s %8s %8s %26s\n", n, BURST, "", "median", "least",
           "over without, of pairs");
    for (k = 0; k < KINDS; k++) {
        double over, least;
        for (round = 0; round < n; round++)
            values[round] = kinds[k].ns[round] - kinds[0].ns[round];
        over = median_of(values, n, 0.5);
        memcpy(values, kinds[k].ns, sizeof values);
        least = median_of(values, n, 0);
        printf("%-20s %8.3f %8.3f %+26.3f\n", kinds[k].name, median_of(values, n, 0.5), least, over);
    }
    {
        double with, without;
        memcpy(values, kinds[2].ns, sizeof values);
        with = median_of(values, n, 0.5);
        memcpy(values, kinds[0].ns, sizeof values);
        without = median_of(values, n, 0.5);
        printf("with : without = %.4f\n", with / without);
    }
    for (round = 0; round < n; round++)
        values[round] = kinds[4].ns[round] - kinds[3].ns[round];
    {
        double over = median_of(values, n, 0.5);
        printf("1 in 32 over not sampled, of pairs: %+.3f ns an append: %.1f ns a sample, %.4f ns an append at 1 in 1,024\n", over,
               over * OFTEN, over * OFTEN / 1024);
    }
    for (k = 0; k < KINDS; k++)
        (void)kinds[k].close(kinds[k].log);
    snprintf(command, sizeof command, "rm -r '%s'", place);
    return system(command) != 0;
}
