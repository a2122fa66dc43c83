/* The timer, histograms, rows and curves; see bench.h. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench bench;
double ticks_per_ns;
struct request requests[REQUESTS];
const double quantiles[QUANTILES] = {0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1};
const char *const quantile_names[QUANTILES] = {"p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"};

void fail(const char *what, walrec_status_t status)
{
    char text[512] = "";
    walrec_last_error(text, sizeof text);
    fprintf(stderr, "%s: %d (%s) %s\n", what, (int)status, walrec_status_str(status), text);
    exit(1);
}

void fail_system(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

void expect_ok(const char *what, walrec_status_t status)
{
    if (status != WALREC_OK)
        fail(what, status);
}

const char *place_of(const char *name)
{
    static char ring[8][4096];
    static unsigned next;
    char *out = ring[next++ % 8];
    snprintf(out, sizeof ring[0], "%s/%s", bench.place, name);
    return out;
}

walrec_t *open_log(const char *name, const walrec_config_t *config)
{
    walrec_t *log = NULL;
    expect_ok("walrec_open", walrec_open(place_of(name), config, &log));
    return log;
}

void pause_ms(long ms)
{
    struct timespec t;
    t.tv_sec = ms / 1000;
    t.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&t, NULL);
}

void calibrate(void)
{
    uint64_t ns = now_ns(), ticks = ticks_now();
    pause_ms(200);
    ticks_per_ns = (double)(ticks_now() - ticks) / (double)(now_ns() - ns);
}

double timer_step_ns(void)
{
    uint64_t least = UINT64_MAX, last = 0;
    unsigned i;
    for (i = 0; i < 10000; i++) {
        uint64_t begin = ticks_begin(), spent = ticks_end() - begin;
        uint64_t apart = spent > last ? spent - last : last - spent;
        if (i > 0 && apart > 0 && apart < least)
            least = apart;
        last = spent;
    }
    return (double)least / ticks_per_ns;
}

void requests_make(void)
{
    uint64_t x = 88172645463325252u;
    unsigned i;
    for (i = 0; i < REQUESTS; i++) {
        struct request *request = &requests[i];
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        request->timestamp_ns = UINT64_C(1700000000000000000) + i;
        request->price = (int64_t)(1234500 + x % 1000);
        request->quantity = (int64_t)(1 + x % 500);
        request->user_id = (uint32_t)(x % 5000);
        request->order_id = (uint32_t)(x >> 32);
        request->type = (uint8_t)(x % 5);
        request->order_type = (uint8_t)(x % 3);
        request->side = (uint8_t)(x & 1);
        memset(request->text, (int)(x & 0x7f), sizeof request->text);
    }
}

/* ---- the bare copy ---------------------------------------------------------- */

struct bare bare_new(const walrec_config_t *config)
{
    struct bare bare;
    char name[4096];
    int fd;
    bare.bytes = (config->stage_slots == 0 ? STAGE_SLOTS : config->stage_slots) *
                 (config->num_blocks == 0 ? SEGMENT_BYTES : 4096 + (size_t)config->num_blocks * 16448) / 64 * 64;
    bare.at = 0;
    bare.ahead = 2048;
    snprintf(name, sizeof name, "%s/walrec-bench-%ld", config->stage_dir == NULL ? "/dev/shm" : config->stage_dir, (long)getpid());
    fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || unlink(name) != 0 || posix_fallocate(fd, 0, (off_t)(bare.bytes + 4096)) != 0)
        fail_system("shared memory for the bare copy");
    bare.memory = mmap(NULL, bare.bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (bare.memory == MAP_FAILED)
        fail_system("mmap");
    memset(bare.memory, 1, bare.bytes + 4096);
    memset(bare.memory, 0, bare.bytes + 4096);
    bare.count = (uint64_t *)(void *)(bare.memory + bare.bytes);
    return bare;
}

void bare_free(struct bare *bare)
{
    munmap(bare->memory, bare->bytes + 4096);
}

/* ---- values ------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
    qsort(values, n, sizeof values[0], by_value);
    return n == 0 ? 0 : values[n / 2];
}

struct histogram *histogram_new(void)
{
    struct histogram *histogram = malloc(sizeof *histogram);
    if (histogram == NULL)
        fail_system("malloc");
    /* Touched, so that no page of it is met for the first time while something is measured. */
    memset(histogram, 1, sizeof *histogram);
    memset(histogram, 0, sizeof *histogram);
    return histogram;
}

double quantile_ns(const struct histogram *histogram, double q)
{
    uint64_t below = 0, wanted = (uint64_t)((double)histogram->count * q);
    uint64_t value = histogram->most;
    unsigned cell;
    if (q >= 1)
        return (double)histogram->most / ticks_per_ns;
    for (cell = 0; cell < CELLS; cell++) {
        below += histogram->cells[cell];
        if (below > wanted) {
            unsigned octave = (cell - LINEAR) / 128 + 13;
            value = cell < LINEAR ? cell : (uint64_t)(128 + (cell - LINEAR) % 128) << (octave - 7);
            break;
        }
    }
    return (double)value / ticks_per_ns;
}

double mean_ns(const struct histogram *histogram)
{
    uint64_t left = histogram->count - histogram->count / 100, wanted = left;
    double sum = 0;
    unsigned cell;
    for (cell = 0; cell < LINEAR && left > 0; cell++) {
        uint64_t n = histogram->cells[cell] < left ? histogram->cells[cell] : left;
        sum += (double)n * cell;
        left -= n;
    }
    return wanted == left ? 0 : sum / (double)(wanted - left) / ticks_per_ns;
}

/* ---- rows and curves --------------------------------------------------------- */

#define MOST 256
struct row {
    const char *id, *what, *unit, *target;
    double value;
    enum met met;
};
static struct row rows[MOST];
static size_t row_count;
struct curve {
    const char *name;
    uint64_t count;
    double ns[QUANTILES];
};
static struct curve curves[MOST];
static size_t curve_count;
struct about {
    const char *key;
    char text[512];
};
static struct about abouts[32];
static size_t about_count;

const char *joined(const char *prefix, const char *name)
{
    size_t length = strlen(prefix) + strlen(name) + 1;
    char *out = malloc(length);
    if (out == NULL)
        fail_system("malloc");
    snprintf(out, length, "%s%s", prefix, name);
    return out;
}

void row(const char *id, const char *what, double value, const char *unit, const char *target, enum met met)
{
    struct row *at = &rows[row_count < MOST - 1 ? row_count++ : MOST - 1];
    at->id = id;
    at->what = what;
    at->value = value;
    at->unit = unit;
    at->target = target;
    at->met = met;
}

void curve(const char *name, const struct histogram *histogram)
{
    struct curve *at = &curves[curve_count < MOST - 1 ? curve_count++ : MOST - 1];
    unsigned i;
    at->name = name;
    at->count = histogram->count;
    for (i = 0; i < QUANTILES; i++)
        at->ns[i] = quantile_ns(histogram, quantiles[i]);
}

void about(const char *key, const char *format, ...)
{
    struct about *at = &abouts[about_count < 31 ? about_count++ : 31];
    va_list arguments;
    at->key = key;
    va_start(arguments, format);
    vsnprintf(at->text, sizeof at->text, format, arguments);
    va_end(arguments);
}

static void print_rows(void)
{
    static const char *const words[] = {"", "MISSED", "met"};
    size_t i, k;
    for (i = 0; i < about_count; i++)
        printf("   %-14s %s\n", abouts[i].key, abouts[i].text);
    printf("\n   %-72s %11s %-10s %-8s target\n", "", "", "", "");
    for (i = 0; i < row_count; i++)
        printf("   %-72s %11.2f %-10s %-8s %s\n", rows[i].what, rows[i].value, rows[i].unit, words[rows[i].met + 1],
               rows[i].target);
    printf("\n   %-44s", "nanoseconds");
    for (k = 0; k < QUANTILES; k++)
        printf(" %10s", quantile_names[k]);
    printf("\n");
    for (i = 0; i < curve_count; i++) {
        printf("   %-44s", curves[i].name);
        for (k = 0; k < QUANTILES; k++)
            printf(" %10.0f", curves[i].ns[k]);
        printf("\n");
    }
}

static void json_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        if ((unsigned char)*text >= 0x20)
            fputc(*text, file);
    }
    fputc('"', file);
}

static int write_json(const char *path)
{
    static const char *const met[] = {"null", "false", "true"};
    FILE *file = fopen(path, "w");
    size_t i, k;
    if (file == NULL)
        return -1;
    fprintf(file, "{\n  \"about\": {");
    for (i = 0; i < about_count; i++) {
        fprintf(file, "%s\n    ", i == 0 ? "" : ",");
        json_text(file, abouts[i].key);
        fprintf(file, ": ");
        json_text(file, abouts[i].text);
    }
    fprintf(file, "\n  },\n  \"rows\": [");
    for (i = 0; i < row_count; i++) {
        fprintf(file, "%s\n    {\"id\": ", i == 0 ? "" : ",");
        json_text(file, rows[i].id);
        fprintf(file, ", \"what\": ");
        json_text(file, rows[i].what);
        fprintf(file, ", \"value\": %.4f, \"unit\": ", rows[i].value);
        json_text(file, rows[i].unit);
        fprintf(file, ", \"target\": ");
        json_text(file, rows[i].target);
        fprintf(file, ", \"met\": %s}", met[rows[i].met + 1]);
    }
    fprintf(file, "\n  ],\n  \"curves\": [");
    for (i = 0; i < curve_count; i++) {
        fprintf(file, "%s\n    {\"name\": ", i == 0 ? "" : ",");
        json_text(file, curves[i].name);
        fprintf(file, ", \"samples\": %" PRIu64 ", \"ns\": {", curves[i].count);
        for (k = 0; k < QUANTILES; k++)
            fprintf(file, "%s\"%s\": %.1f", k == 0 ? "" : ", ", quantile_names[k], curves[i].ns[k]);
        fprintf(file, "}}");
    }
    fprintf(file, "\n  ]\n}\n");
    return fclose(file);
}

/* ---- begin and end ------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void remove_tree(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        perror(path);
}

void begin(int argc, char **argv)
{
    static char place[3000];
    const char *dir = ".";
    int i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            bench.quick = 1;
        else if (strcmp(argv[i], "--full") == 0)
            bench.full = 1;
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            bench.json = argv[++i];
        else
            dir = argv[i];
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(place, sizeof place, "%s/walrec-bench-XXXXXX", dir);
    if (mkdtemp(place) == NULL)
        fail_system(place);
    bench.place = place;
    expect_ok("walrec_config_init", walrec_config_init(&bench.config, sizeof bench.config));
    calibrate();
    requests_make();
}

int end(const char *title)
{
    printf("\nwalrec: %s\n\n", title);
    print_rows();
    if (bench.json != NULL && write_json(bench.json) != 0)
        fail_system(bench.json);
    remove_tree(bench.place);
    return 0;
}
