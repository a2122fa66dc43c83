/* A reader with SALVAGE: over damage, with each range told; never a wrong event. */
#include "check.h"
#include "places.h"

#define SEGMENTS 20u

static void flip(const char *dir, unsigned segment, uint64_t offset)
{
    char file[8192];
    unsigned char byte;
    int fd;
    snprintf(file, sizeof file, "%s/FS.%08u.wal", dir, segment);
    fd = open(file, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 0x40;
    REQUIRE(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

static uint64_t slot_at(uint64_t slot)
{
    return HEADER_BYTES + slot / 256 * BLOCK_BYTES + 64 + slot % 256 * 64;
}

/* One event damaged in each of twenty segments: all others come back, each range is told, in batches and one by one. */
static void twenty_segments(size_t batch)
{
    const char *dir = path("twenty");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_meta_state_t state;
    walrec_reader_t *reader = NULL;
    walrec_gap_t gap;
    walrec_status_t status;
    uint64_t id = 1, segment, passed = 0;
    unsigned first;
    size_t got, k;

    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    first = state.last_segment_index;
    append_range(log, 1, SEGMENTS * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    for (segment = 0; segment < SEGMENTS; segment++)
        flip(dir, first + (unsigned)segment, slot_at(200 * segment + 7) + 20);

    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, WALREC_FLAG_SALVAGE, &reader));
    memset(&gap, 0, sizeof gap);
    gap.struct_size = sizeof gap;
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_gap(reader, &gap));
    for (;;) {
        status = batch == 1 ? walrec_reader_next(reader, &out[0]) : walrec_reader_read(reader, out, batch, &got);
        if (status == WALREC_GAP) {
            uint64_t hit = passed * 4096 + 200 * passed + 7 + 1;
            memset(&gap, 0xff, sizeof gap);
            gap.struct_size = sizeof gap;
            CHECK_STATUS(WALREC_OK, walrec_reader_gap(reader, &gap));
            CHECK_U64(first + passed, gap.segment);
            CHECK_U64(slot_at(200 * passed + 7), gap.offset);
            CHECK_U64(64, gap.length);
            CHECK_U64(hit - 1, gap.id_before);
            CHECK_U64(hit + 1, gap.id_after);
            CHECK(gap.reason != 0 && gap.reserved == 0);
            CHECK(strcmp(walrec_reason_str(gap.reason), "unknown reason") != 0);
            CHECK_U64(hit, id);
            id++;
            passed++;
            continue;
        }
        if (status != WALREC_OK)
            break;
        if (batch == 1)
            got = 1;
        for (k = 0; k < got; k++)
            if (!event_is_right(&out[k], id++))
                check_fail(__FILE__, __LINE__, "expected event %" PRIu64, id - 1);
    }
    CHECK_STATUS(WALREC_END, status);
    CHECK_U64(SEGMENTS, passed);
    CHECK_U64(SEGMENTS * 4096 + 1, id);
    /* Strict: an error at the first of them. */
    walrec_reader_close(reader);
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    while ((status = walrec_reader_next(reader, &out[0])) == WALREC_OK) {
    }
    CHECK_STATUS(WALREC_E_CORRUPT, status);
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_gap(reader, &gap));
    walrec_reader_close(reader);

    /* A whole segment that is gone, and a seek behind it. */
    {
        char file[8192];
        snprintf(file, sizeof file, "%s/FS.%08u.wal", dir, first + 5);
        REQUIRE(unlink(file) == 0);
    }
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 4 * 4096 + 3000, WALREC_FLAG_SALVAGE, &reader));
    for (id = 4 * 4096 + 3000; id <= 5 * 4096; id++) {
        REQUIRE_STATUS(WALREC_OK, walrec_reader_next(reader, &out[0]));
        CHECK(event_is_right(&out[0], id));
    }
    CHECK_STATUS(WALREC_GAP, walrec_reader_next(reader, &out[0]));
    gap.struct_size = sizeof gap;
    CHECK_STATUS(WALREC_OK, walrec_reader_gap(reader, &gap));
    CHECK_U64(first + 5, gap.segment);
    CHECK_U64(5 * 4096, gap.id_before);
    CHECK_U64(6 * 4096 + 1, gap.id_after);
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &out[0]));
    CHECK(event_is_right(&out[0], 6 * 4096 + 1));
    CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, 9 * 4096 + 1));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &out[0]));
    CHECK(event_is_right(&out[0], 9 * 4096 + 1));
    CHECK_STATUS(WALREC_OK, walrec_reader_seek_time(reader, event_of(11 * 4096 + 5).timestamp_ns));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &out[0]));
    CHECK(event_is_right(&out[0], 11 * 4096 + 5));
    /* struct_size: a shorter one, a longer one, and wrong ones. */
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_gap(reader, NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_gap(NULL, &gap));
    gap.struct_size = 4;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_gap(reader, &gap));
    gap.struct_size = 8192;
    CHECK_STATUS(WALREC_E_ABI, walrec_reader_gap(reader, &gap));
    walrec_reader_close(reader);
    {
        char command[9000];
        snprintf(command, sizeof command, "rm -rf '%s'", dir);
        REQUIRE(system(command) == 0);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    twenty_segments(1);
    twenty_segments(5000);
    return check_end();
}
