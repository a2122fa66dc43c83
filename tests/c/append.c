/* walrec_append and walrec_append_batch: the order rule, prefixes, and that an error changes nothing. */
#include "check.h"

/* After a refused call the log is as before, and the next good append works. */
static void goes_on(walrec_t *log, uint64_t last)
{
    CHECK_U64(last, walrec_last_event_id(log));
    append_range(log, last + 1, last + 1);
    CHECK_U64(last + 1, walrec_last_event_id(log));
}

static void one_by_one(void)
{
    const char *dir = path("single");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_event_t event, *slot = NULL;
    uint64_t last = 0, i;

    CHECK_U64(0, walrec_last_event_id(log));
    CHECK_U64(0, walrec_durable_event_id(log));
    CHECK_U64(0, walrec_last_event_id(NULL));
    CHECK_U64(0, walrec_durable_event_id(NULL));

    /* Before the first event, at block ends and at segment ends the rare path runs: the same must hold there. */
    static const uint64_t places[] = {0, 1, 254, 255, 256, 257, 4094, 4095, 4096, 4097, 8191, 8192, 9000};
    for (i = 0; i < sizeof places / sizeof places[0]; i++) {
        uint64_t at = places[i];
        if (at > last) {
            append_range(log, last + 1, at);
            last = at;
        }
        event = event_of(last + 1);
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(NULL, &event));
        /* Dropped by a refused call, by this one too. */
        CHECK_STATUS(WALREC_OK, walrec_reserve(log, &slot));
        event_fill(slot, last + 1);
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(log, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
        CHECK_MESSAGE("walrec_commit: there is no open reservation");
        goes_on(log, last);
        last++;
        event.event_id = 0;
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(log, &event));
        CHECK_MESSAGE("walrec_append: event_id is 0");
        goes_on(log, last);
        last++;
        event = event_of(last);
        CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
        goes_on(log, last);
        last++;
        event = event_of(1);
        CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
        goes_on(log, last);
        last++;
    }

    /* The event is copied: what the caller does with it afterwards does not matter, nor does guard. */
    event = event_of(last + 1);
    event.guard = 0xdeadbeef;
    CHECK_STATUS(WALREC_OK, walrec_append(log, &event));
    memset(&event, 0xff, sizeof event);
    last++;

    CHECK(walrec_durable_event_id(log) <= last);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_U64(last, walrec_durable_event_id(log));
    log_holds(dir, 1, last);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);

    /* The order rule holds over a close. */
    log = log_open(dir, &config);
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_U64(last, walrec_durable_event_id(log));
    event = event_of(last);
    CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
    goes_on(log, last);
    last++;
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

/* Ids may jump, as far as they like. */
static void jumps(void)
{
    const char *dir = path("jumps");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    uint64_t id;
    int n = 0;
    for (id = 1; id != 0 && id < UINT64_C(1) << 63; id *= 2) {
        append_range(log, id, id);
        n++;
    }
    append_range(log, UINT64_MAX - 1, UINT64_MAX - 1);
    event = event_of(UINT64_MAX);
    CHECK_STATUS(WALREC_OK, walrec_append(log, &event));
    n += 2;
    CHECK_U64(UINT64_MAX, walrec_last_event_id(log));
    /* No id is left above the highest one. */
    CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
    event = event_of(1);
    CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    for (id = 0; n > 0; n--) {
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        CHECK(event.event_id > id && event_is_right(&event, event.event_id));
        id = event.event_id;
    }
    CHECK_U64(UINT64_MAX, id);
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, UINT64_MAX));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK_U64(UINT64_MAX, event.event_id);
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    walrec_reader_close(reader);
}

#define BATCH 10000
static walrec_event_t batch[BATCH];

static void fill(uint64_t first, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        batch[i] = event_of(first + i);
}

static void batches(void)
{
    const char *dir = path("batch");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t last = 0;
    size_t done = 77, n;

    fill(1, BATCH);
    CHECK_STATUS(WALREC_OK, walrec_append_batch(log, batch, 0, &done));
    CHECK_U64(0, done);
    CHECK_STATUS(WALREC_OK, walrec_append_batch(log, NULL, 0, NULL));
    done = 77;
    CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(log, NULL, 1, &done));
    CHECK_U64(0, done);
    done = 77;
    CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(NULL, batch, 1, &done));
    CHECK_U64(0, done);
    CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(NULL, batch, 1, NULL));
    CHECK_U64(0, walrec_last_event_id(log));

    /* Sizes around a block and a segment, and several segments at once. */
    for (n = 1; n <= BATCH; n = n < 3 ? n + 1 : n * 3 - 2) {
        fill(last + 1, n);
        done = 77;
        CHECK_STATUS(WALREC_OK, walrec_append_batch(log, batch, n, &done));
        CHECK_U64(n, done);
        last += n;
        CHECK_U64(last, walrec_last_event_id(log));
    }
    fill(last + 1, BATCH);
    CHECK_STATUS(WALREC_OK, walrec_append_batch(log, batch, BATCH, NULL));
    last += BATCH;

    /* A prefix, and the status of the first one refused. */
    fill(last + 1, 10);
    batch[5] = batch[4];
    CHECK_STATUS(WALREC_E_ORDER, walrec_append_batch(log, batch, 10, &done));
    CHECK_U64(5, done);
    last += 5;
    goes_on(log, last);
    last++;
    fill(last + 1, 3000);
    batch[2999].event_id = 0;
    CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(log, batch, 3000, &done));
    CHECK_U64(2999, done);
    last += 2999;
    goes_on(log, last);
    last++;
    fill(last, 3);
    CHECK_STATUS(WALREC_E_ORDER, walrec_append_batch(log, batch, 3, &done));
    CHECK_U64(0, done);
    goes_on(log, last);
    last++;
    fill(last + 1, 8);
    batch[6].event_id = 0;
    CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(log, batch, 8, NULL));
    last += 6;
    CHECK_U64(last, walrec_last_event_id(log));

    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    log_holds(dir, 1, last);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

/* Every bit of the 60 bytes comes back, whatever the fields hold. */
static void any_content(void)
{
    const char *dir = path("content");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_reader_t *reader = NULL;
    walrec_event_t event, back;
    unsigned bit;
    for (bit = 0; bit < 480 + 2; bit++) {
        memset(&event, bit == 480 ? 0xff : 0, sizeof event);
        event.event_id = bit + 1;
        if (bit >= 64 && bit < 480)
            ((unsigned char *)&event)[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        CHECK_STATUS(WALREC_OK, walrec_append(log, &event));
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    for (bit = 0; bit < 480 + 2; bit++) {
        memset(&event, bit == 480 ? 0xff : 0, sizeof event);
        event.event_id = bit + 1;
        if (bit >= 64 && bit < 480)
            ((unsigned char *)&event)[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &back));
        CHECK(memcmp(&event, &back, EVENT_BODY) == 0);
    }
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &back));
    walrec_reader_close(reader);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    one_by_one();
    jumps();
    batches();
    any_content();
    return check_end();
}
