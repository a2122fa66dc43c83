/* walrec_verify: counts of a sound log, the first fault of a damaged one, nothing changed. */
#include "check.h"

static void sized(walrec_verify_report_t *report)
{
    memset(report, 0xff, sizeof *report);
    report->struct_size = sizeof *report;
}

int main(int argc, char **argv)
{
    const char *dir;
    walrec_config_t config;
    walrec_t *log;
    walrec_meta_state_t state;
    walrec_verify_report_t report;
    uint64_t digest, longer[64];
    char file[8192], name[64];
    unsigned char byte;
    unsigned i;
    int fd;

    check_begin(argc, argv, 60);
    dir = path("log");
    config = config_small();
    CHECK_STATUS(WALREC_E_INVALID, walrec_verify(dir, NULL));
    sized(&report);
    CHECK_STATUS(WALREC_E_INVALID, walrec_verify(NULL, &report));
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_verify(dir, &report));
    report.struct_size = 0;
    CHECK_STATUS(WALREC_E_INVALID, walrec_verify(dir, &report));
    report.struct_size = 1 << 20;
    CHECK_STATUS(WALREC_E_ABI, walrec_verify(dir, &report));

    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    append_range(log, 1, 5 * 4096 + 300);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    /* Beside the live recorder, then without it. */
    sized(&report);
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, &report));
    CHECK_U64(5 * 4096 + 300, report.events);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    digest = tree_digest(dir);
    sized(&report);
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, &report));
    CHECK_U64(sizeof report, report.struct_size);
    CHECK_U64(6, report.segments);
    CHECK_U64(0, report.segments_compressed);
    CHECK_U64(5 * 16 + 2, report.blocks);
    CHECK_U64(5 * 4096 + 300, report.events);
    CHECK_U64(1, report.first_event_id);
    CHECK_U64(5 * 4096 + 300, report.last_event_id);
    CHECK(report.bytes >= 5 * (64 + 16 * (uint64_t)BLOCK_BYTES));
    CHECK_U64(0, report.fault_reason);
    CHECK(report.fault_file[0] == '\0');
    for (i = 0; i < 8; i++)
        CHECK_U64(0, report.reserved[i]);

    /* An older caller gets its part, a newer one zeros behind. */
    memset(longer, 0xff, sizeof longer);
    ((walrec_verify_report_t *)longer)->struct_size = 16;
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, (walrec_verify_report_t *)longer));
    CHECK(longer[1] == 6 && longer[2] == UINT64_MAX);
    ((walrec_verify_report_t *)longer)->struct_size = sizeof longer;
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, (walrec_verify_report_t *)longer));
    CHECK(longer[63] == 0);

    snprintf(name, sizeof name, "FS.%08u.wal", (unsigned)state.last_segment_index + 2);
    snprintf(file, sizeof file, "%s/%s", dir, name);
    fd = open(file, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(pread(fd, &byte, 1, 64 + 3 * BLOCK_BYTES + 64 + 100) == 1);
    byte ^= 1;
    REQUIRE(pwrite(fd, &byte, 1, 64 + 3 * BLOCK_BYTES + 64 + 100) == 1);
    CHECK(tree_digest(dir) != digest);
    sized(&report);
    CHECK_STATUS(WALREC_E_CORRUPT, walrec_verify(dir, &report));
    CHECK_MESSAGE(name);
    CHECK(strcmp(report.fault_file, name) == 0);
    CHECK_U64(state.last_segment_index + 2, report.fault_segment);
    CHECK_U64(3, report.fault_block);
    CHECK_U64(64 + 3 * BLOCK_BYTES, report.fault_offset);
    CHECK(strstr(walrec_reason_str(report.fault_reason), "checksum") != NULL);
    CHECK(report.fault_expected != report.fault_actual);
    CHECK_U64(4 * 4096 + 3 * 256 + 300, report.events);
    byte ^= 1;
    REQUIRE(pwrite(fd, &byte, 1, 64 + 3 * BLOCK_BYTES + 64 + 100) == 1);
    close(fd);
    CHECK_U64(digest, tree_digest(dir));

    REQUIRE(unlink(file) == 0);
    CHECK_STATUS(WALREC_E_CORRUPT, walrec_verify(dir, &report));
    CHECK_U64(1, report.segments_missing);
    CHECK_U64(state.last_segment_index + 2, report.fault_segment);
    CHECK(report.fault_block == WALREC_NO_BLOCK);
    return check_end();
}
