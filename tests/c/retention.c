/*
 * What is kept: freezing above max_segments, deletion above max_compressed_segments, the floor, and reading over hot and
 * frozen segments.
 */
#include "check.h"
#include "heard.h"
#include "places.h"

static walrec_reader_t *const not_a_reader = (walrec_reader_t *)(uintptr_t)64;

/* Full segments, across freezing and deletion: what is retained is whole. */
static void by_itself(void)
{
    const char *dir = path("retained");
    walrec_config_t config = config_small();
    walrec_t *log;
    walrec_open_report_t report;
    struct segment_scan scan;
    const uint64_t events = 60 * 4096 + 100;
    config.max_segments = 3;
    config.max_compressed_segments = 5;
    log = log_open(dir, &config);
    append_range(log, 1, events);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    scan = scan_segments(dir);
    printf("after %" PRIu64 " events: segments %" PRIu64 "..%" PRIu64 ", %" PRIu64 " hot, %" PRIu64
           " frozen\n", events, scan.lowest, scan.highest, scan.hot, scan.frozen);
    CHECK(scan.frozen > 0 && scan.frozen <= 5);
    CHECK(scan.hot >= 3 && scan.hot <= 3 + 4 + 1);
    CHECK_U64(scan.highest - scan.lowest + 1, scan.hot + scan.frozen);

    log = log_open(dir, &config);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK_U64(events, report.last_event_id);
    CHECK_U64(1, report.first_event_id % 4096);
    CHECK(report.first_event_id > 1);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, report.first_event_id, events);
}

/* NO_COMPRESS: nothing is frozen, and the sum of both limits is kept. KEEP_ALL keeps all. A floor holds deletion back. */
static void kept(void)
{
    walrec_config_t config = config_small();
    walrec_t *log;
    config.max_segments = 2;
    config.max_compressed_segments = 1;
    config.flags = WALREC_FLAG_NO_COMPRESS;
    log = log_open(path("no-compress"), &config);
    append_range(log, 1, 20 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(0, scan_segments(path("no-compress")).frozen);
    CHECK_U64(3, scan_segments(path("no-compress")).hot);
    log_holds(path("no-compress"), 17 * 4096 + 1, 20 * 4096);

    config.max_compressed_segments = WALREC_KEEP_ALL;
    log = log_open(path("keep-all"), &config);
    append_range(log, 1, 20 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(20, scan_segments(path("keep-all")).hot);
    log_holds(path("keep-all"), 1, 20 * 4096);
    config.max_compressed_segments = 1;

    config.flags = 0;
    config.retention_floor = 3 * 4096 + 1;
    log = log_open(path("floor"), &config);
    append_range(log, 1, 20 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    {
        walrec_reader_t *reader = NULL;
        walrec_event_t event;
        uint64_t id;
        CHECK(scan_segments(path("floor")).frozen > 0);
        CHECK_STATUS(WALREC_OK, walrec_reader_open(path("floor"), 3 * 4096 + 1, 0, &reader));
        for (id = 3 * 4096 + 1; id <= 20 * 4096; id++) {
            REQUIRE_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
            CHECK(event_is_right(&event, id));
        }
        CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
        walrec_reader_close(reader);
    }
}

/* The floor is raised while the log is open: what is below it goes, what is not stays. */
static void floor_raised(void)
{
    const char *dir = path("raised");
    walrec_config_t config = config_small();
    walrec_t *log;
    config.max_segments = 2;
    config.max_compressed_segments = 1;
    config.retention_floor = 1;
    CHECK_STATUS(WALREC_E_INVALID, walrec_set_retention_floor(NULL, 1));
    log = log_open(dir, &config);
    append_range(log, 1, 20 * 4096);
    CHECK_U64(0, scan_segments(dir).lowest);
    /* The event below which all may go is the first of the twelfth segment: the eleventh ends right below it. */
    CHECK_STATUS(WALREC_OK, walrec_set_retention_floor(log, 11 * 4096 + 1));
    append_range(log, 20 * 4096 + 1, 21 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    CHECK_STATUS(WALREC_E_CLOSED, walrec_set_retention_floor(log, 0));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK(scan_segments(dir).lowest <= 11);
    /* Further sessions finish what this one had no time for, and go no further. */
    config.retention_floor = 11 * 4096 + 1;
    log = log_open(dir, &config);
    append_range(log, 21 * 4096 + 1, 21 * 4096 + 1);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log = log_open(dir, &config);
    append_range(log, 21 * 4096 + 2, 21 * 4096 + 2);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(11, scan_segments(dir).lowest);
    log_holds(dir, 11 * 4096 + 1, 21 * 4096 + 2);
}

/* Below the oldest retained event: NOT_FOUND, never something later without a word. */
static void retired(void)
{
    const char *dir = path("retired");
    walrec_config_t config = config_small();
    walrec_t *log;
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    uint64_t first;
    config.max_segments = 2;
    config.max_compressed_segments = 2;
    log = log_open(dir, &config);
    append_range(log, 1, 40 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    first = event.event_id;
    CHECK(first > 1);
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_seek(reader, 1));
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_seek(reader, first - 1));
    CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, first));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK_U64(first, event.event_id);
    walrec_reader_close(reader);
    reader = not_a_reader;
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_open(dir, 1, 0, &reader));
    CHECK(reader == NULL);
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_open(dir, first - 1, 0, &reader));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, first, 0, &reader));
    walrec_reader_close(reader);
    log_holds(dir, first, 40 * 4096);
}

/* The same reading as over hot segments, most of them frozen now. */
static void frozen_places(void)
{
    const char *dir = path("places");
    walrec_config_t config = config_small();
    walrec_t *log;
    uint64_t id;
    config.max_segments = 2;
    log = log_open(dir, &config);
    for (id = 1; id <= 50000; id++)
        append_range(log, 2 * id, 2 * id);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    places(dir, 50000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK(scan_segments(dir).frozen > 0);
    places(dir, 50000);
}

/* The first deletion without a floor is a warning: a log that forgets should have been meant to. */
static void deletion(void)
{
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    walrec_t *log;
    config.max_segments = 2;
    config.max_compressed_segments = 1;
    log = log_open(path("deletion"), &config);
    append_range(log, 1, 40 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    close_and_check(log, h);
    CHECK(scan_segments(path("deletion")).lowest > 0);
    CHECK_HEARD(h, "delet", WALREC_LOG_WARNING);
    CHECK(h->count[WALREC_LOG_ERROR] == 0);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    by_itself();
    kept();
    floor_raised();
    retired();
    frozen_places();
    deletion();
    return check_end();
}
