/*
 * What an append costs. First figures: nothing is compared with a target.
 *
 *   cc -std=c99 -D_GNU_SOURCE -O2 -I include benches/append.c target/release/libwalrec.so -pthread -o append
 *   ./append [DIRECTORY]          a directory is made in it for the log, and removed at the end (default: .)
 *
 * 1. Tight loop. Bursts of 500,000 appends, each after a sync, so that the pool is the limit and not the disk. After
 *    each burst the same number of bare copies is timed: 64 bytes, a count, a prefetch, into memory of the same kind and size (a
 *    tmpfs file as large as the pool, touched). Their ratio is what the library adds.
 * 2. Paced. One append each microsecond for five seconds, with rotation, sync, freezing and deletion running, and
 *    half-way between two appends the same measurement of nothing: the floor is the timer's own.
 *
 * The measuring thread is pinned to the last CPU and the library's to the first, when there are two.
 */
#include "walrec.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BURST 500000u
#define ROUNDS 15
#define PACED_EVENTS 5000000u
#define SEGMENT_BYTES 8421440u
#define STAGE_SLOTS 6u
#define SECOND_NS UINT64_C(1000000000)
#define NO_LIMIT UINT64_MAX

static void fail(const char *what, walrec_status_t status)
{
    char text[512] = "";
    walrec_last_error(text, sizeof text);
    fprintf(stderr, "%s: %d (%s) %s\n", what, (int)status, walrec_status_str(status), text);
    exit(1);
}

static void expect_ok(const char *what, walrec_status_t status)
{
    if (status != WALREC_OK)
        fail(what, status);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void pause_ms(long ms)
{
    struct timespec t;
    t.tv_sec = ms / 1000;
    t.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&t, NULL);
}

/* ---- the timer ----------------------------------------------------------- */

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

static double ticks_per_ns;

static void calibrate(void)
{
    uint64_t ns = now_ns(), ticks = ticks_now();
    pause_ms(200);
    ticks_per_ns = (double)(ticks_now() - ticks) / (double)(now_ns() - ns);
}

/* ---- the machine --------------------------------------------------------- */

static void first_line(const char *name, const char *key, char *out, size_t n)
{
    char line[1024];
    FILE *file = fopen(name, "r");
    snprintf(out, n, "unknown");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        const char *text = line;
        size_t length;
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        if (key[0] != '\0' && strchr(line, ':') != NULL)
            text = strchr(line, ':') + 1 + strspn(strchr(line, ':') + 1, " \t");
        length = strcspn(text, "\n");
        length = length < n ? length : n - 1;
        memcpy(out, text, length);
        out[length] = '\0';
        break;
    }
    fclose(file);
}

/* The file system of a directory: the mount with the longest matching path. */
static void file_system(const char *dir, char *out, size_t n)
{
    char line[4096], where[2048], kind[256], real[4096];
    size_t best = 0;
    FILE *file = fopen("/proc/mounts", "r");
    snprintf(out, n, "unknown");
    if (file == NULL || realpath(dir, real) == NULL) {
        if (file != NULL)
            fclose(file);
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        size_t length;
        if (sscanf(line, "%*s %2047s %255s", where, kind) != 2)
            continue;
        length = strlen(where);
        if (strncmp(real, where, length) == 0 && length >= best &&
            (length == 1 || real[length] == '/' || real[length] == '\0')) {
            best = length;
            snprintf(out, n, "%s", kind);
        }
    }
    fclose(file);
}

static int pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

/* ---- events -------------------------------------------------------------- */

static walrec_event_t built(void)
{
    walrec_event_t event;
    memset(&event, 0, sizeof event);
    event.timestamp_ns = UINT64_C(1700000000000000000);
    event.price = 1234500;
    event.quantity = 100;
    event.user_id = 7;
    event.order_id = 42;
    memset(event.user_bytes, 0x5a, sizeof event.user_bytes);
    return event;
}

/* As the library does it: eight 64-bit loads and stores, since a vector load of an event just written would wait. */
static inline void copy_64(uint64_t *to, const uint64_t *from)
{
    int k;
    for (k = 0; k < 8; k++) {
        uint64_t word = from[k];
        __asm__ __volatile__("" : "+r"(word));
        to[k] = word;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof values[0], by_value);
    return values[n / 2];
}

/* ---- 1. tight loop ------------------------------------------------------- */

/* BURST appends; 0 when the pool ran out in between, which is no measurement. The log goes on in either case. */
static double append_burst(walrec_t *log, walrec_event_t *event)
{
    uint64_t begin = now_ns(), i;
    int refused = 0;
    for (i = 0; i < BURST; i++) {
        walrec_status_t status;
        event->event_id++;
        while ((status = walrec_append(log, event)) == WALREC_E_BACKPRESSURE) {
            refused = 1;
            pause_ms(1);
        }
        if (status != WALREC_OK)
            fail("walrec_append", status);
    }
    return refused ? 0 : (double)(now_ns() - begin) / BURST;
}

struct bare {
    unsigned char *memory;
    size_t bytes, at;
    uint64_t *count;
};

static struct bare bare_new(void)
{
    struct bare bare;
    char name[64];
    int fd;
    bare.bytes = (size_t)STAGE_SLOTS * SEGMENT_BYTES / 64 * 64;
    bare.at = 0;
    snprintf(name, sizeof name, "/walrec-bench-%ld", (long)getpid());
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || shm_unlink(name) != 0 || posix_fallocate(fd, 0, (off_t)(bare.bytes + 4096)) != 0) {
        fprintf(stderr, "shared memory for the bare copy: %s\n", strerror(errno));
        exit(1);
    }
    bare.memory = mmap(NULL, bare.bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (bare.memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memset(bare.memory, 1, bare.bytes + 4096);
    memset(bare.memory, 0, bare.bytes + 4096);
    bare.count = (uint64_t *)(void *)(bare.memory + bare.bytes);
    return bare;
}

static double bare_burst(struct bare *bare, walrec_event_t *event)
{
    uint64_t begin = now_ns(), i, count = 0;
    size_t at = bare->at;
    for (i = 0; i < BURST; i++) {
        unsigned char *to = bare->memory + at;
        event->event_id++;
        __asm__ __volatile__("" ::: "memory");
        copy_64((uint64_t *)(void *)to, (const uint64_t *)(const void *)event);
        __builtin_prefetch(to + 2048, 1);
        __atomic_store_n(bare->count, ++count, __ATOMIC_RELEASE);
        at += 64;
        if (at == bare->bytes)
            at = 0;
    }
    bare->at = at;
    return (double)(now_ns() - begin) / BURST;
}

static void tight(const char *dir, walrec_config_t config)
{
    walrec_event_t event = built(), other = built();
    double appends[ROUNDS], copies[ROUNDS], ratios[ROUNDS];
    struct bare bare = bare_new();
    unsigned round = 0, refused = 0, warm = 4;
    walrec_t *log = NULL;

    /* The disk has nothing to do but make them durable: no freezing, no deleting. */
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    config.full_policy = WALREC_FULL_FAIL;
    expect_ok("walrec_open", walrec_open(dir, &config, &log));
    while (round < ROUNDS && refused < 50) {
        double append, copy;
        pause_ms(250);
        append = append_burst(log, &event);
        copy = bare_burst(&bare, &other);
        expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
        if (append == 0) {
            refused++;
        } else if (warm > 0) {
            warm--;
        } else {
            appends[round] = append;
            copies[round] = copy;
            ratios[round++] = append / copy;
        }
    }
    expect_ok("walrec_close", walrec_close(log));
    munmap(bare.memory, bare.bytes + 4096);

    printf("\n1. Tight loop: %u bursts of %u, each after a sync, event built beforehand; ns an event\n", round, BURST);
    if (round == 0) {
        printf("   the pool ran out in each burst: no figure\n");
        return;
    }
    printf("   %-28s %8s %8s\n", "", "median", "least");
    printf("   %-28s %8.2f ", "walrec_append", median(appends, round));
    printf("%8.2f\n", appends[0]);
    printf("   %-28s %8.2f ", "bare copy, count, prefetch", median(copies, round));
    printf("%8.2f\n", copies[0]);
    printf("   %-28s %8.2f %8s   (of pairs)\n", "append : bare", median(ratios, round), "");
    if (refused > 0)
        printf("   %u more bursts not counted: the pool ran out in them\n", refused);
}

/* ---- 2. paced ------------------------------------------------------------ */

static int by_ticks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static const double quantiles[] = {0.5, 0.99, 0.999, 0.9999, 1};
#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

static void print_row(const char *name, const double *values)
{
    size_t i;
    printf("   %-28s", name);
    for (i = 0; i < QUANTILES; i++)
        printf(" %9.0f", values[i]);
    printf("\n");
}

static void quantiles_of(uint32_t *samples, size_t n, double *out)
{
    size_t i;
    qsort(samples, n, sizeof samples[0], by_ticks);
    for (i = 0; i < QUANTILES; i++) {
        size_t at = (size_t)((double)n * quantiles[i]);
        out[i] = samples[at < n ? at : n - 1] / ticks_per_ns;
    }
}

static uint32_t *samples_new(void)
{
    uint32_t *samples = malloc(PACED_EVENTS * sizeof *samples);
    if (samples == NULL) {
        perror("malloc");
        exit(1);
    }
    memset(samples, 1, PACED_EVENTS * sizeof *samples);
    return samples;
}

static inline uint32_t spent(uint64_t begin, uint64_t end)
{
    return end - begin > UINT32_MAX ? UINT32_MAX : (uint32_t)(end - begin);
}

static void paced(const char *dir, walrec_config_t config)
{
    uint32_t *append = samples_new(), *floor_of = samples_new();
    double of_append[QUANTILES], of_floor[QUANTILES], over[QUANTILES];
    walrec_event_t event = built();
    uint64_t interval = (uint64_t)(1000 * ticks_per_ns), next, begin, late = 0, at_begin, lag = 0;
    walrec_t *log = NULL;
    uint64_t i;
    double seconds;

    /* Few are kept, so that freezing and deletion run too. */
    config.max_segments = 8;
    config.max_compressed_segments = 8;
    expect_ok("walrec_open", walrec_open(dir, &config, &log));
    /* The pool is used twice before anything counts. */
    for (i = 0; i < 2 * STAGE_SLOTS * 131072u; i++) {
        event.event_id++;
        expect_ok("walrec_append", walrec_append(log, &event));
    }
    expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
    pause_ms(500);

    at_begin = now_ns();
    next = ticks_now() + interval;
    for (i = 0; i < PACED_EVENTS; i++) {
        walrec_status_t status;
        event.event_id++;
        event.timestamp_ns += 1000;
        while ((begin = ticks_now()) < next) {
        }
        late += begin > next + interval;
        begin = ticks_begin();
        status = walrec_append(log, &event);
        append[i] = spent(begin, ticks_end());
        if (status != WALREC_OK)
            fail("walrec_append", status);
        /* Half an interval on: the timer alone. */
        while (ticks_now() < next + interval / 2) {
        }
        begin = ticks_begin();
        floor_of[i] = spent(begin, ticks_end());
        next += interval;
        if (i % 100000 == 0) {
            uint64_t behind = walrec_last_event_id(log) - walrec_durable_event_id(log);
            lag = behind > lag ? behind : lag;
        }
    }
    seconds = (double)(now_ns() - at_begin) / 1e9;
    expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
    expect_ok("walrec_close", walrec_close(log));

    quantiles_of(append, PACED_EVENTS, of_append);
    quantiles_of(floor_of, PACED_EVENTS, of_floor);
    for (i = 0; i < QUANTILES; i++)
        over[i] = of_append[i] - of_floor[i];
    printf("\n2. Paced: %u appends in %.2f s (%.3f M/s), durable beside it; service time in ns\n", PACED_EVENTS, seconds,
           PACED_EVENTS / seconds / 1e6);
    printf("   %-28s %9s %9s %9s %9s %9s\n", "", "p50", "p99", "p99.9", "p99.99", "max");
    print_row("walrec_append, timer included", of_append);
    print_row("timer alone (floor)", of_floor);
    print_row("append over the floor", over);
    printf("   begun more than 1 us late: %" PRIu64 "; most events not yet durable at a look: %" PRIu64 "\n", late, lag);
    free(append);
    free(floor_of);
}

/* ---- ------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    char place[3000], log_dir[3100], text[256];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    walrec_config_t config;
    struct utsname system_name;
    int pinned = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(place, sizeof place, "%s/walrec-bench-XXXXXX", argc > 1 ? argv[1] : ".");
    if (mkdtemp(place) == NULL) {
        perror(place);
        return 1;
    }
    expect_ok("walrec_config_init", walrec_config_init(&config, sizeof config));
    if (cpus >= 2 && pin((int)cpus - 1) == 0) {
        pinned = 1;
        config.cpu_prepare = config.cpu_flush = config.cpu_maintain = config.cpu_meta = 1;
    }
    calibrate();

    printf("walrec %s: what an append costs\n\n", walrec_version_string());
    printf("   command      %s%s%s\n", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    first_line("/proc/cpuinfo", "model name", text, sizeof text);
    printf("   cpu          %s, %ld online, timer %.3f ticks a ns\n", text, cpus, ticks_per_ns);
    uname(&system_name);
    printf("   kernel       %s %s\n", system_name.sysname, system_name.release);
    file_system(place, text, sizeof text);
    printf("   log          on %s\n", text);
    file_system("/dev/shm", text, sizeof text);
    printf("   stage        in /dev/shm (%s), ", text);
    first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "", text, sizeof text);
    printf("huge pages: %s\n", text);
    printf("   threads      %s\n", pinned ? "measuring one on the last CPU, the library's on the first" : "not pinned");
    printf("   geometry     default: 512 blocks, %u slots\n", STAGE_SLOTS);

    snprintf(log_dir, sizeof log_dir, "%s/tight", place);
    tight(log_dir, config);
    snprintf(log_dir, sizeof log_dir, "%s/paced", place);
    paced(log_dir, config);
    if (nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        perror(place);
    return 0;
}
