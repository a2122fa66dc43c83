/* What hangs on the disk, and on the process: durable throughput, opening after kill -9, memory. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

/* Page-aligned, filled with something that is not zero. */
static unsigned char *buffer_new(size_t bytes)
{
    void *memory = NULL;
    size_t i;
    if (posix_memalign(&memory, 4096, bytes) != 0)
        fail_system("posix_memalign");
    for (i = 0; i < bytes; i++)
        ((unsigned char *)memory)[i] = (unsigned char)(i * 31 + 7);
    return memory;
}

/* A fresh file, allocated, written past the page cache where the file system can. */
static int direct_file(const char *name, size_t bytes)
{
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0 && errno == EINVAL) {
        unlink(name);
        about("direct", "no O_DIRECT on this file system: bare writes go through the page cache");
        fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)bytes) != 0)
        fail_system(name);
    return fd;
}

static void write_all(int fd, const unsigned char *from, size_t bytes, size_t at)
{
    while (bytes > 0) {
        ssize_t n = pwrite(fd, from, bytes, (off_t)at);
        if (n <= 0)
            fail_system("pwrite");
        from += n, at += (size_t)n, bytes -= (size_t)n;
    }
}

double bare_sync_p99_us(void)
{
    enum { PIECE = 65536, BYTES = 16 * 1024 * 1024 };
    unsigned writes = bench.quick ? 100 : 400, i;
    struct histogram *histogram = histogram_new();
    unsigned char *buffer = buffer_new(PIECE);
    const char *name = place_of("bare-sync");
    int fd = direct_file(name, BYTES);
    size_t at;
    double p99;
    /* Written once before: a flush normally meets extents that are. */
    for (at = 0; at < BYTES; at += PIECE)
        write_all(fd, buffer, PIECE, at);
    if (fsync(fd) != 0)
        fail_system("fsync");
    for (i = 0; i < writes; i++) {
        uint64_t begin = ticks_now();
        write_all(fd, buffer, PIECE, (size_t)i * PIECE % BYTES);
        if (fdatasync(fd) != 0)
            fail_system("fdatasync");
        histogram_add(histogram, ticks_now() - begin);
    }
    p99 = quantile_ns(histogram, 0.99) / 1e3;
    close(fd);
    unlink(name);
    free(buffer);
    free(histogram);
    return p99;
}

/* ---- throughput -------------------------------------------------------------- */

static double megabytes_a_second(size_t bytes, uint64_t begin)
{
    return (double)bytes / 1e6 / ((double)(now_ns() - begin) / 1e9);
}

static double bare_throughput(size_t bytes)
{
    unsigned char *buffer = buffer_new(MIB);
    const char *name = place_of("bare-throughput");
    int fd = direct_file(name, bytes);
    uint64_t begin = now_ns();
    double rate;
    size_t at;
    for (at = 0; at < bytes; at += MIB)
        write_all(fd, buffer, MIB, at);
    if (fdatasync(fd) != 0)
        fail_system("fdatasync");
    rate = megabytes_a_second(bytes, begin);
    close(fd);
    unlink(name);
    free(buffer);
    return rate;
}

static double log_throughput(walrec_t *log, size_t bytes)
{
    uint64_t id = walrec_last_event_id(log), n = bytes / 16448 * 256, i, begin = now_ns();
    walrec_event_t event;
    for (i = 0; i < n; i++) {
        fill(&event, ++id);
        expect_ok("walrec_append", walrec_append(log, &event));
    }
    expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
    return megabytes_a_second(bytes, begin);
}

void throughput(walrec_config_t config)
{
    enum { MOST_ROUNDS = 6 };
    unsigned rounds = bench.quick ? 2 : MOST_ROUNDS, round;
    size_t bytes = (bench.quick ? 64 : 256) * (size_t)MIB;
    double logs[MOST_ROUNDS], bares[MOST_ROUNDS], ratios[MOST_ROUNDS], ratio;
    walrec_t *log;
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    config.wait_limit_us = 60000000;
    log = open_log("throughput", &config);
    log_throughput(log, STAGE_SLOTS * (size_t)SEGMENT_BYTES);
    for (round = 0; round < rounds; round++) {
        logs[round] = log_throughput(log, bytes);
        bares[round] = bare_throughput(bytes);
        ratios[round] = logs[round] / bares[round];
    }
    expect_ok("walrec_close", walrec_close(log));
    ratio = median(ratios, rounds);
    printf("throughput: %u rounds of %zu MiB\n", rounds, bytes / MIB);
    row("throughput.log", "durable throughput, disk bound, freezing off", median(logs, rounds), "MB/s", "", NO_TARGET);
    row("throughput.bare", "bare sequential O_DIRECT writes of 1 MiB, one sync", median(bares, rounds), "MB/s", "", NO_TARGET);
    row("throughput.ratio", "durable throughput : bare (pairs)", ratio, "x", ">= 0.85", met_if(ratio >= 0.85));
}

/* ---- children ------------------------------------------------------------------ */

static int wait_for(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* A child that dies with this process. */
static pid_t child_of(void)
{
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child < 0)
        fail_system("fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

void open_after_kill(walrec_config_t config)
{
    enum { MOST_ROUNDS = 21, EVENTS = 41000 };
    unsigned rounds = bench.quick ? 3 : MOST_ROUNDS, round;
    double times[MOST_ROUNDS], from_stage[MOST_ROUNDS], middle;
    for (round = 0; round < rounds; round++) {
        walrec_open_report_t report;
        walrec_t *log;
        uint64_t begin;
        pid_t child = child_of();
        if (child == 0) {
            walrec_event_t event;
            uint64_t id, first;
            log = open_log("killed", &config);
            first = walrec_last_event_id(log) + 1;
            for (id = first; id < first + EVENTS; id++) {
                fill(&event, id);
                expect_ok("walrec_append", walrec_append(log, &event));
            }
            raise(SIGKILL);
        }
        if (!WIFSIGNALED(wait_for(child))) {
            fprintf(stderr, "open after kill: the child was not killed\n");
            exit(1);
        }
        begin = now_ns();
        log = open_log("killed", &config);
        times[round] = (double)(now_ns() - begin) / 1e6;
        memset(&report, 0, sizeof report);
        report.struct_size = sizeof report;
        expect_ok("walrec_open_report", walrec_open_report(log, &report));
        from_stage[round] = (double)report.events_from_stage;
        expect_ok("walrec_close", walrec_close(log));
    }
    middle = median(times, rounds);
    printf("open after kill: %u rounds\n", rounds);
    row("open.after_kill", "open after kill -9, the old pool there, median", middle, "ms", "<= 30", met_if(middle <= 30));
    row("open.after_kill_max", "open after kill -9, longest", times[rounds - 1], "ms", "", NO_TARGET);
    row("open.from_stage", "events that only the stage had, median", median(from_stage, rounds), "", "", NO_TARGET);
}

/* Kilobytes of this process that are in memory. */
static uint64_t resident_kb(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %llu", &kb) == 1)
            break;
    fclose(file);
    return kb;
}

void memory(walrec_config_t config)
{
    /* Each slot: the image in whole pages, and its control page. */
    double stage = STAGE_SLOTS * (double)((SEGMENT_BYTES + 4095) / 4096 * 4096 + 4096);
    struct {
        uint64_t before, after;
    } *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;
    double used;
    if (shared == MAP_FAILED)
        fail_system("mmap");
    child = child_of();
    if (child == 0) {
        walrec_event_t event;
        walrec_t *log;
        uint64_t id;
        shared->before = resident_kb();
        config.max_segments = 8;
        log = open_log("memory", &config);
        for (id = 1; id <= 3 * STAGE_SLOTS * SEGMENT_EVENTS; id++) {
            fill(&event, id);
            expect_ok("walrec_append", walrec_append(log, &event));
        }
        shared->after = resident_kb();
        expect_ok("walrec_close", walrec_close(log));
        _exit(0);
    }
    if (wait_for(child) != 0) {
        fprintf(stderr, "memory: the child failed\n");
        exit(1);
    }
    used = ((double)(shared->after - shared->before) * 1024 - stage) / (1024 * 1024);
    munmap(shared, 4096);
    printf("memory: %.1f MiB of stage\n", stage / MIB);
    row("memory.beside_stage", "memory beside the stage's pool, freezing", used, "MiB", "<= 16", met_if(used <= 16));
}
