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

#endif
