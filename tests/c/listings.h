/* Listings of a log's directory, each held against limits. */
#ifndef WALREC_TESTS_LISTINGS_H
#define WALREC_TESTS_LISTINGS_H

#include "check.h"

struct limits {
    uint64_t hot, cold;
};

/* What the listings of one session showed. */
struct seen {
    uint64_t samples, most_hot, most_cold, over, gaps, longest_pause_ns, last_ns;
};

static inline void judge(struct seen *seen, const struct segment_scan *scan, struct limits limits)
{
    uint64_t files = scan->hot + scan->frozen;
    seen->samples++;
    if (scan->hot > seen->most_hot)
        seen->most_hot = scan->hot;
    if (scan->frozen > seen->most_cold)
        seen->most_cold = scan->frozen;
    if (scan->hot > limits.hot || scan->frozen > limits.cold)
        seen->over++;
    if (files > 0 && files < scan->highest - scan->lowest + 1)
        seen->gaps++;
}

/* One listing is one moment: a directory of so few names is read by one call, under its lock. */
static inline void sample(struct seen *seen, const char *dir, struct limits limits)
{
    struct segment_scan scan = scan_segments(dir);
    uint64_t now = now_ns();
    if (seen->samples > 0 && now - seen->last_ns > seen->longest_pause_ns)
        seen->longest_pause_ns = now - seen->last_ns;
    seen->last_ns = now;
    judge(seen, &scan, limits);
}

static inline void remove_entry(const char *dir, const char *name, void *user)
{
    char full[8192];
    (void)user;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    unlink(full);
}

/* A made-up log of so many files, one of them missing in the middle if told; judged like a real one. */
static inline struct seen judge_made_up(uint32_t cold, uint32_t hot, int gap, struct limits limits)
{
    static const char *const others[] = {"FS.00000900.wal.lz4.tmp", "FS.00000901.wal.new", "FS.00000902.del",
                                         "wal_meta.dat", "walrec.id", "walrec.stage"};
    struct seen seen;
    const char *dir = path("made-up");
    uint32_t i;
    REQUIRE(mkdir(dir, 0700) == 0);
    for (i = 0; i < cold + hot + sizeof others / sizeof others[0]; i++) {
        char name[8192];
        int fd;
        if (i < cold + hot)
            snprintf(name, sizeof name, "%s/FS.%08u.wal%s", dir, 100 + i, i < cold ? ".lz4" : "");
        else
            snprintf(name, sizeof name, "%s/%s", dir, others[i - cold - hot]);
        if (gap && i == cold)
            continue;
        fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0);
        close(fd);
    }
    memset(&seen, 0, sizeof seen);
    sample(&seen, dir, limits);
    for_each_entry(dir, remove_entry, NULL);
    REQUIRE(rmdir(dir) == 0);
    CHECK_U64(hot - (gap ? 1 : 0), seen.most_hot);
    CHECK_U64(cold, seen.most_cold);
    return seen;
}

#endif
