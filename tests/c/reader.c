/* The reader: from any place, forwards and back, beside a live recorder, and over damage. */
#include "check.h"
#include "places.h"

static walrec_reader_t *const not_a_reader = (walrec_reader_t *)(uintptr_t)64;

static void arguments(void)
{
    walrec_reader_t *reader = not_a_reader;
    walrec_event_t event;
    walrec_config_t config = config_small();
    const char *dir = path("arguments");
    size_t got = 7;

    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(NULL, 0, 0, &reader));
    CHECK(reader == NULL);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(dir, 0, 0, NULL));
    reader = not_a_reader;
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_open(dir, 0, 0, &reader));
    CHECK(reader == NULL);
    CHECK_MESSAGE(dir);
    CHECK(!exists(dir));
    REQUIRE(mkdir(path("empty"), 0700) == 0);
    reader = not_a_reader;
    CHECK_STATUS(WALREC_E_NOT_FOUND, walrec_reader_open(path("empty"), 0, 0, &reader));
    CHECK(reader == NULL);
    CHECK(for_each_entry(path("empty"), NULL, NULL) == 0);

    /* A log without events is a log. */
    CHECK_STATUS(WALREC_OK, walrec_close(log_open(dir, &config)));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    CHECK_STATUS(WALREC_END, walrec_reader_read(reader, out, 10, &got));
    CHECK_U64(0, got);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_next(reader, NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_read(reader, NULL, 10, &got));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_read(reader, out, 0, &got));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_read(reader, out, 10, NULL));
    got = 7;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_read(NULL, out, 10, &got));
    CHECK_U64(0, got);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_next(NULL, &event));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_seek(NULL, 1));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    walrec_reader_close(reader);
    walrec_reader_close(NULL);

    /* Only SALVAGE is a reader's flag. */
    reader = not_a_reader;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(dir, 0, 1, &reader));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(dir, 0, UINT32_C(1) << 31, &reader));
    CHECK(reader == NULL);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(dir, 0, WALREC_FLAG_SALVAGE | 1, &reader));
    CHECK(walrec_last_error(NULL, 0) > 1);
}

static void everywhere(void)
{
    const char *dir = path("places");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t id;
    for (id = 1; id <= 50000; id++)
        append_range(log, 2 * id, 2 * id);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    /* Beside the live recorder, then without it. */
    places(dir, 50000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    places(dir, 50000);
}

static void live(void)
{
    const char *dir = path("live");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_reader_t *reader = NULL, *ahead = NULL;
    walrec_event_t event;
    uint64_t last = 0, i, k;

    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 30001, 0, &ahead));
    /* END, then OK as the recorder goes on: over blocks, segments and rotations. */
    for (i = 0; i < 200; i++) {
        uint64_t n = 1 + i * 7 % 613;
        append_range(log, last + 1, last + n);
        if (i % 17 == 0)
            CHECK_STATUS(WALREC_OK, walrec_rotate(log));
        CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
        for (k = 1; k <= n; k++) {
            REQUIRE_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
            CHECK(event_is_right(&event, last + k));
        }
        last += n;
        CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
        if (last < 30001)
            CHECK_STATUS(WALREC_END, walrec_reader_next(ahead, &event));
    }
    REQUIRE(last > 30001);
    CHECK_STATUS(WALREC_OK, walrec_reader_next(ahead, &event));
    CHECK(event_is_right(&event, 30001));

    /* Never more than is durable. */
    for (i = 0; i < 20; i++) {
        uint64_t durable;
        append_range(log, last + 1, last + 3000);
        last += 3000;
        do {
            walrec_status_t status = walrec_reader_next(reader, &event);
            durable = walrec_durable_event_id(log);
            if (status == WALREC_OK)
                CHECK(event.event_id <= durable);
            else
                CHECK_STATUS(WALREC_END, status);
        } while (durable < last);
    }
    CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, 1));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK(event_is_right(&event, 1));
    walrec_reader_close(ahead);
    walrec_reader_close(reader);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static void flip(const char *name, uint64_t offset)
{
    unsigned char byte;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 0x40;
    REQUIRE(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

/* One flipped bit: the events before it, then CORRUPT with the place, and nothing changed on disk. */
static void damaged(void)
{
    const char *dir = path("damaged");
    /* In block 3: a header's first id, its checksum, and events. */
    static const uint64_t offsets[] = {0, 32, 64, 64 + 7 * 64 + 20, 64 + 255 * 64 + 59};
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint32_t first_segment;
    walrec_meta_state_t state;
    unsigned i;

    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    first_segment = state.last_segment_index;
    append_range(log, 1, 5 * 4096);
    CHECK_STATUS(WALREC_OK, walrec_close(log));

    for (i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        char name[64], file[8192], text[4096];
        walrec_reader_t *reader = NULL;
        walrec_event_t event;
        walrec_status_t status;
        uint64_t digest, id = 1, got_before;
        size_t got;
        uint64_t block_at = HEADER_BYTES + 3 * (uint64_t)BLOCK_BYTES;
        snprintf(name, sizeof name, "FS.%08u.wal", (unsigned)first_segment + 2);
        snprintf(file, sizeof file, "%s/%s", dir, name);
        flip(file, block_at + offsets[i]);
        digest = tree_digest(dir);

        CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
        REQUIRE(reader != NULL);
        while ((status = walrec_reader_next(reader, &event)) == WALREC_OK) {
            CHECK(event_is_right(&event, id));
            id++;
        }
        CHECK_STATUS(WALREC_E_CORRUPT, status);
        walrec_last_error(text, sizeof text);
        if (i == 0)
            printf("message: %s\n", text);
        CHECK_MESSAGE(name);
        CHECK_MESSAGE("block 3");
        {
            /* The byte offset of the block in its file. */
            char digits[32];
            snprintf(digits, sizeof digits, "%" PRIu64, block_at);
            CHECK_MESSAGE(digits);
        }
        /* All before the block, nothing of it or behind it; and the same again. */
        CHECK_U64(2 * 4096 + 3 * 256 + 1, id);
        CHECK_STATUS(WALREC_E_CORRUPT, walrec_reader_next(reader, &event));
        CHECK_STATUS(WALREC_E_CORRUPT, walrec_reader_read(reader, out, 10, &got));
        CHECK_U64(0, got);
        walrec_reader_close(reader);

        /* A batch stops before the damage with OK, the next one tells it. */
        CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
        got_before = 0;
        while ((status = walrec_reader_read(reader, out, 5000, &got)) == WALREC_OK)
            got_before += got;
        CHECK_STATUS(WALREC_E_CORRUPT, status);
        CHECK_U64(2 * 4096 + 3 * 256, got_before);
        walrec_reader_close(reader);

        /* Segments without damage can still be read. */
        CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 4 * 4096 + 1, 0, &reader));
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        CHECK_U64(4 * 4096 + 1, event.event_id);
        walrec_reader_close(reader);

        CHECK_U64(digest, tree_digest(dir));
        flip(file, block_at + offsets[i]);
        log_holds(dir, 1, 5 * 4096);
    }
    /* A segment in the middle that is gone. */
    {
        walrec_reader_t *reader = NULL;
        walrec_event_t event;
        walrec_status_t status;
        uint64_t id = 1;
        char file[8192];
        snprintf(file, sizeof file, "%s/FS.%08u.wal", dir, (unsigned)first_segment + 1);
        REQUIRE(rename(file, path("kept-aside")) == 0);
        status = walrec_reader_open(dir, 0, 0, &reader);
        if (status == WALREC_OK) {
            while ((status = walrec_reader_next(reader, &event)) == WALREC_OK)
                CHECK(event_is_right(&event, id++));
            CHECK_U64(4097, id);
        }
        CHECK_STATUS(WALREC_E_CORRUPT, status);
        walrec_reader_close(reader);
        REQUIRE(rename(path("kept-aside"), file) == 0);
        log_holds(dir, 1, 5 * 4096);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 90);
    arguments();
    everywhere();
    live();
    damaged();
    return check_end();
}
