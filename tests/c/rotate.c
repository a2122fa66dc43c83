/* walrec_rotate, and the rotations that full segments bring by themselves. */
#include "check.h"

static uint32_t segment_of(walrec_t *log)
{
    walrec_meta_state_t state;
    memset(&state, 0xff, sizeof state);
    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(walrec_last_event_id(log), state.last_event_id);
    return state.last_segment_index;
}

static void *rotate_elsewhere(void *log)
{
    CHECK_STATUS(WALREC_E_THREAD, walrec_rotate(log));
    return NULL;
}

static void early(void)
{
    const char *dir = path("early");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t last = 0, i;
    uint32_t before, after;

    CHECK_STATUS(WALREC_E_INVALID, walrec_rotate(NULL));
    /* No event in the active segment: nothing happens, however often. */
    before = segment_of(log);
    for (i = 0; i < 20; i++)
        CHECK_STATUS(WALREC_OK, walrec_rotate(log));
    append_range(log, 1, 1);
    last = 1;
    CHECK_U64(before, segment_of(log));

    /* With one event, with a full block, with a full segment less one, with a full segment. */
    for (i = 0; i < 12; i++) {
        static const uint64_t counts[] = {1, 2, 255, 256, 257, 4095, 4096, 10, 512, 4097, 1, 1};
        before = segment_of(log);
        append_range(log, last + 1, last + counts[i]);
        last += counts[i];
        CHECK_STATUS(WALREC_OK, walrec_rotate(log));
        CHECK_STATUS(WALREC_OK, walrec_rotate(log));
        CHECK_U64(last, walrec_last_event_id(log));
        append_range(log, last + 1, last + 1);
        last++;
        after = segment_of(log);
        /* The counted events begin in a segment that holds one already. */
        CHECK_U64(before + (counts[i] + 1 > 4096 ? 2u : 1u), after);
    }
    on_other_thread(rotate_elsewhere, log);
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    log_holds(dir, 1, last);

    /* After a clean close no empty segment is left, also when the last call was a rotation. */
    CHECK_STATUS(WALREC_OK, walrec_rotate(log));
    after = segment_of(log);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    {
        struct segment_scan scan = scan_segments(dir);
        walrec_open_report_t report;
        CHECK_U64(scan.highest - scan.lowest + 1, scan.hot + scan.frozen);
        log = log_open(dir, &config);
        memset(&report, 0, sizeof report);
        report.struct_size = sizeof report;
        CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
        CHECK_U64(scan.hot, report.segments);
        CHECK_U64(scan.frozen, report.segments_compressed);
        CHECK(scan.highest <= after);
    }
    append_range(log, last + 1, last + 100);
    last += 100;
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

/* Many rotations by hand, one after another: they wait for prepared segments, and nothing is lost. */
static void rapid(void)
{
    const char *dir = path("rapid");
    walrec_config_t config = config_small();
    walrec_t *log;
    uint64_t id;
    config.stage_slots = 3;
    log = log_open(dir, &config);
    for (id = 1; id <= 100; id++) {
        append_range(log, id, id);
        CHECK_STATUS(WALREC_OK, walrec_rotate(log));
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(100, scan_segments(dir).hot);
    log_holds(dir, 1, 100);
}

/* The smallest and an odd geometry, and another one at the next open. */
static void geometries(void)
{
    const char *dir = path("geometry");
    static const uint32_t blocks[] = {16, 17, 33, 512, 16, 100};
    uint64_t last = 0;
    unsigned i;
    for (i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        walrec_config_t config = config_small();
        walrec_t *log;
        config.num_blocks = blocks[i];
        log = log_open(dir, &config);
        CHECK_U64(last, walrec_last_event_id(log));
        append_range(log, last + 1, last + 15000 + i);
        last += 15000 + i;
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        log_holds(dir, 1, last);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    early();
    rapid();
    geometries();
    return check_end();
}
