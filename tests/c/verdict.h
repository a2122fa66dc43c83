/* What a log holds after a fault, held against what was reported as appended before it. */
#ifndef WALREC_TESTS_VERDICT_H
#define WALREC_TESTS_VERDICT_H

#include "check.h"

struct verdict {
    uint64_t first, last, wrong, lost, extra;
};

/* Reads events from `next` to its end: a gapless sequence with the right bytes 0..60, that reaches at least the last
 * reported event and at most one more. `base` is the last event before the log's first. */
static inline struct verdict verify(int (*next)(void *from, walrec_event_t *event), void *from, uint64_t base,
                                    uint64_t reported)
{
    struct verdict v;
    walrec_event_t event;
    memset(&v, 0, sizeof v);
    v.last = base;
    while (next(from, &event)) {
        if (v.first == 0) {
            v.first = event.event_id;
            if (event.event_id <= base)
                v.wrong++;
        } else if (event.event_id != v.last + 1) {
            v.wrong++;
        }
        if (!event_is_right(&event, event.event_id))
            v.wrong++;
        v.last = event.event_id;
    }
    v.lost = reported > v.last ? reported - v.last : 0;
    v.extra = v.last > reported + 1 ? v.last - reported - 1 : 0;
    return v;
}

#endif
