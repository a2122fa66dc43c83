/*
 * Reading from any place, forwards and back, one by one and in batches: for logs of the even ids 2..2 * events.
 */
#ifndef WALREC_TESTS_PLACES_H
#define WALREC_TESTS_PLACES_H

#include "check.h"

static walrec_event_t out[5000];

/* The event at or after `id`, in a log of the even ids 2..2 * events. */
static inline uint64_t at_or_after(uint64_t id)
{
    return id <= 2 ? 2 : (id + 1) / 2 * 2;
}

static inline void places(const char *dir, uint64_t events)
{
    walrec_reader_t *reader = NULL, *other = NULL;
    walrec_event_t event;
    uint64_t last = 2 * events, i;
    uint64_t x = 12345;
    static const uint64_t ends[] = {1, 2, 3, 511, 512, 513, 514, 8190, 8191, 8192, 8193, 8194, 8195};

    for (i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, ends[i], 0, &reader));
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        CHECK_U64(at_or_after(ends[i]), event.event_id);
        walrec_reader_close(reader);
    }
    /* At the last event, and above it. */
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, last, 0, &reader));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK_U64(last, event.event_id);
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    walrec_reader_close(reader);
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, last + 1, 0, &reader));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    walrec_reader_close(reader);

    /* Seeks all over, with a second reader that is not disturbed by them. */
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &other));
    for (i = 1; i <= 300; i++) {
        uint64_t id, expected;
        unsigned k;
        x = mix(x);
        id = x % (last + 10);
        expected = at_or_after(id);
        CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, id));
        for (k = 0; k < 5; k++, expected += 2) {
            if (expected > last) {
                CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
                break;
            }
            CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
            CHECK(event_is_right(&event, expected));
        }
        CHECK_STATUS(WALREC_OK, walrec_reader_next(other, &event));
        CHECK(event_is_right(&event, 2 * i));
    }
    walrec_reader_close(other);

    /* In batches of every size, from the start again. */
    CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, 0));
    {
        uint64_t expected = 2;
        size_t n = 1, got, k;
        walrec_status_t status;
        while ((status = walrec_reader_read(reader, out, n, &got)) == WALREC_OK) {
            CHECK(got > 0 && got <= n);
            for (k = 0; k < got; k++, expected += 2)
                if (!event_is_right(&out[k], expected))
                    check_fail(__FILE__, __LINE__, "batch of %zu: expected event %" PRIu64, n, expected);
            n = n % 4999 * 2 + 1;
            if (n > 5000)
                n -= 5000;
        }
        CHECK_STATUS(WALREC_END, status);
        CHECK_U64(0, got);
        CHECK_U64(last + 2, expected);
    }
    walrec_reader_close(reader);
}

#endif
