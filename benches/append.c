/*
 * What an append costs, with what was set as a target beside each figure. `make bench` builds and runs it.
 *
 *   append [--quick] [--json FILE] [DIRECTORY]     a directory is made in it for the logs, and removed at the end (default: .)
 *
 * The parts are in benches/append: tight loops (tight.c), paced appends (paced.c), disk and process (disk.c). Where it may mount one, the
 * tight loop and 1 M/s are done again with the stage on a tmpfs with huge pages.
 *
 * The measuring thread is pinned to the last CPU and the library's to the first, when there are two.
 */
#include "append/bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

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

static void about_machine(void)
{
    char text[256], shm[256];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct utsname name;
    about("walrec", "%s%s", walrec_version_string(), bench.quick ? ", a quick run: too short for figures to be kept" : "");
#if defined(__VERSION__)
    about("compiler", "of this program: %s", __VERSION__);
#endif
    first_line("/proc/cpuinfo", "model name", text, sizeof text);
    about("cpu", "%s, %ld online, timer %.3f ticks a ns, in steps of %.1f ns", text, cpus, ticks_per_ns, timer_step_ns());
    first_line("/proc/loadavg", "", text, sizeof text);
    about("load", "%s at the start", text);
    uname(&name);
    about("kernel", "%s %s", name.sysname, name.release);
    file_system(bench.place, text, sizeof text);
    about("log", "on %s", text);
    file_system("/dev/shm", text, sizeof text);
    first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "", shm, sizeof shm);
    about("stage", "in /dev/shm (%s), huge pages: %s", text, shm);
    about("threads", "%s", bench.pinned ? "measuring one on the last CPU, the library's on the first" : "not pinned");
    about("geometry", "default: 512 blocks, %u slots", STAGE_SLOTS);
}

/* ---- huge pages ------------------------------------------------------------ */

static uint64_t huge_shared_kb(void)
{
    char text[64];
    first_line("/proc/meminfo", "ShmemHugePages", text, sizeof text);
    return strtoull(text, NULL, 10);
}

/* A tmpfs with huge pages, for the stage; NULL when this process may not mount one. */
static const char *huge_mount(void)
{
    const char *dir = place_of("huge-pages");
    if (mkdir(dir, 0700) != 0)
        return NULL;
    if (mount("tmpfs", dir, "tmpfs", 0, "size=256m,mode=700,huge=always") != 0) {
        rmdir(dir);
        return NULL;
    }
    return joined(dir, "");
}

static void with_huge_pages(uint64_t paced_events, unsigned rounds, long rest_ms)
{
    const char *dir = huge_mount();
    walrec_config_t config = bench.config;
    uint64_t before = huge_shared_kb();
    struct bare bare;
    double mib;
    if (dir == NULL) {
        about("huge pages", "NOT measured: no tmpfs with huge pages could be mounted");
        return;
    }
    config.stage_dir = dir;
    bare = bare_new(&config);
    mib = (double)(huge_shared_kb() - before) / 1024;
    bare_free(&bare);
    row("huge.mib", "huge pages in memory as large as the pool, on that tmpfs", mib, "MiB", "", NO_TARGET);
    tight("huge.", config, 500000, rounds, rest_ms);
    paced("huge.1M.", config, 1000, paced_events);
    if (umount2(dir, MNT_DETACH) != 0)
        perror(dir);
}

/* ---- ------------------------------------------------------------------- */

static void measure(void)
{
    uint64_t thousand = 1000, at_one_million = bench.quick ? 500 * thousand : 20000 * thousand;
    unsigned rounds = bench.quick ? 3 : 12;
    long rest_ms = bench.quick ? 50 : 150;
    memory(bench.config);
    open_after_kill(bench.config);
    tight("", bench.config, 500000, rounds, rest_ms);
    in_cache();
    paced("100k.", bench.config, 10000, bench.quick ? 20 * thousand : 1000 * thousand);
    paced("1M.", bench.config, 1000, at_one_million);
    paced_bursts("5M.", bench.config, 200, bench.quick ? 1 : 10);
    with_huge_pages(at_one_million, rounds, rest_ms);
    throughput(bench.config);
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    begin(argc, argv);
    bench.config.wait_limit_us = 60000000;
    if (cpus >= 2 && pin((int)cpus - 1) == 0) {
        bench.pinned = 1;
        bench.config.cpu_prepare = bench.config.cpu_flush = bench.config.cpu_maintain = bench.config.cpu_meta = 1;
    }
    about_machine();
    measure();
    return end("what an append costs");
}
