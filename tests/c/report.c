/* walrec_open_report: what an open found, after a clean close and after a kill. */
#include "check.h"

static walrec_open_report_t report_of(walrec_t *log)
{
    walrec_open_report_t report;
    unsigned i;
    memset(&report, 0xff, sizeof report);
    report.struct_size = sizeof report;
    REQUIRE_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK_U64(sizeof report, report.struct_size);
    for (i = 0; i < 6; i++)
        CHECK_U64(0, report.reserved[i]);
    CHECK(walrec_reason_str(report.cut_reason) != NULL);
    /* What depends on the limits of whoever runs this. */
    report.flags &= ~(uint32_t)WALREC_OPEN_NOT_LOCKED_IN_MEMORY;
    return report;
}

static void struct_size(walrec_t *log)
{
    union {
        walrec_open_report_t report;
        unsigned char bytes[4096 + 64];
    } u;
    static const uint32_t bad[] = {0, 1, 7, 9, 15, 127, 129};
    uint32_t size;
    size_t i;
    walrec_open_report_t whole = report_of(log);
    CHECK_STATUS(WALREC_E_INVALID, walrec_open_report(NULL, &whole));
    CHECK_STATUS(WALREC_E_INVALID, walrec_open_report(log, NULL));
    /* No more than the caller has room for; what this library does not know becomes 0. */
    for (size = 8; size <= 4096; size += size < 192 ? 8 : 976) {
        memset(&u, 0xa5, sizeof u);
        u.report.struct_size = size;
        CHECK_STATUS(WALREC_OK, walrec_open_report(log, &u.report));
        CHECK_U64(size, u.report.struct_size);
        if (size >= 24)
            CHECK_U64(whole.last_event_id, u.report.last_event_id);
        for (i = sizeof(walrec_open_report_t); i < size; i++)
            CHECK(u.bytes[i] == 0);
        for (i = size; i < sizeof u; i++)
            CHECK(u.bytes[i] == 0xa5);
    }
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(&u, 0xa5, sizeof u);
        u.report.struct_size = bad[i];
        CHECK_STATUS(WALREC_E_INVALID, walrec_open_report(log, &u.report));
        CHECK(u.bytes[4] == 0xa5 && u.bytes[200] == 0xa5);
    }
    u.report.struct_size = 4104;
    CHECK_STATUS(WALREC_E_ABI, walrec_open_report(log, &u.report));
    u.report.struct_size = UINT32_MAX - 7;
    CHECK_STATUS(WALREC_E_ABI, walrec_open_report(log, &u.report));
}

static void clean(void)
{
    const char *dir = path("clean");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_open_report_t report = report_of(log);
    struct segment_scan scan;
    FILE *file;

    CHECK_U64(0, report.flags);
    CHECK_U64(0, report.first_event_id);
    CHECK_U64(0, report.last_event_id);
    CHECK_U64(0, report.events_from_stage);
    CHECK_U64(0, report.segments);
    CHECK_U64(0, report.segments_compressed);
    CHECK_U64(0, report.foreign_files);
    append_range(log, 10, 30009);
    /* The report is of the open, not of now. */
    CHECK_U64(0, report_of(log).last_event_id);
    CHECK_STATUS(WALREC_OK, walrec_close(log));

    /* A file of somebody else: counted, and left alone. */
    file = fopen(path("clean/notes.txt"), "w");
    REQUIRE(file != NULL);
    fputs("mine", file);
    fclose(file);
    scan = scan_segments(dir);
    CHECK_U64(8, scan.hot);
    log = log_open(dir, &config);
    report = report_of(log);
    CHECK_U64(0, report.flags);
    CHECK_U64(10, report.first_event_id);
    CHECK_U64(30009, report.last_event_id);
    CHECK_U64(0, report.events_from_stage);
    CHECK_U64(0, report.bytes_cut);
    CHECK_U64(0, report.quarantined);
    CHECK_U64(8, report.segments);
    CHECK_U64(0, report.segments_compressed);
    CHECK_U64(1, report.foreign_files);
    CHECK(report.recovery_ns > 0 && report.recovery_ns < 60 * SECOND_NS);
    CHECK_U64(30009, walrec_durable_event_id(log));
    struct_size(log);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(4, (uint64_t)(exists(path("clean/notes.txt")) ? 4 : 0));
    log_holds(dir, 10, 30009);
}

struct killed {
    const char *dir;
    uint64_t first, last;
};

static void append_and_die(void *argument)
{
    struct killed *k = argument;
    walrec_config_t config = config_small();
    walrec_t *log;
    config.stage_slots = 8;
    log = log_open(k->dir, &config);
    append_range(log, k->first, k->last);
    raise(SIGKILL);
}

/* Killed at full speed: what was appended is all there, and some of it only the stage still had. */
static void killed(void)
{
    struct killed k;
    walrec_config_t config = config_small();
    uint64_t from_stage = 0;
    unsigned i;
    k.dir = path("killed");
    k.last = 0;
    for (i = 0; i < 8; i++) {
        walrec_t *log;
        walrec_open_report_t report;
        int status;
        k.first = k.last + 1;
        k.last += 3000 * (i + 1);
        status = wait_child(start_child(append_and_die, &k));
        REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        log = log_open(k.dir, &config);
        report = report_of(log);
        printf("killed after %" PRIu64 " events: %" PRIu64 " only in the stage, recovery %" PRIu64
               " us\n", k.last - k.first + 1, report.events_from_stage, report.recovery_ns / 1000);
        CHECK_U64(1, report.first_event_id);
        CHECK_U64(k.last, report.last_event_id);
        CHECK_U64(k.last, walrec_last_event_id(log));
        CHECK_U64(k.last, walrec_durable_event_id(log));
        CHECK_U64(0, report.flags);
        CHECK_U64(0, report.quarantined);
        CHECK(report.events_from_stage <= k.last - k.first + 1);
        from_stage += report.events_from_stage;
        log_holds(k.dir, 1, k.last);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        log = log_open(k.dir, &config);
        report = report_of(log);
        CHECK_U64(0, report.events_from_stage);
        CHECK_U64(k.last, report.last_event_id);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    }
    /* Else the disk was faster than the kill each time, and nothing was proved. */
    CHECK(from_stage > 0);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    clean();
    killed();
    return check_end();
}
