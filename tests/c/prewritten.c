/* Which segment files are written with zeros in advance: all but those that the append thread may need at once. What is written shows by
 * SEEK_HOLE: an extent that is only allocated is a hole to it, one with zeros in it is not. */
#include "check.h"

#define SLOTS 6u

static uint64_t prepared(walrec_t *log)
{
    walrec_telemetry_t telemetry;
    memset(&telemetry, 0, sizeof telemetry);
    telemetry.struct_size = (uint32_t)sizeof telemetry;
    REQUIRE_STATUS(WALREC_OK, walrec_telemetry(log, &telemetry));
    return telemetry.prepared_now;
}

/* Bytes of a file that stand on the disk as written ones. */
static off_t written_bytes(const char *name)
{
    int fd = open(name, O_RDONLY);
    off_t data = 0, hole, sum = 0;
    REQUIRE(fd >= 0);
    while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
        hole = lseek(fd, data, SEEK_HOLE);
        REQUIRE(hole > data);
        sum += hole - data;
        data = hole;
    }
    close(fd);
    return sum;
}

static const char *segment(const char *dir, unsigned index)
{
    static char name[4096];
    snprintf(name, sizeof name, "%s/FS.%08u.wal", dir, index);
    return name;
}

/* Whether this file system tells allocated extents from written ones. */
static int tells(void)
{
    const char *name = path("told");
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600), told;
    REQUIRE(fd >= 0);
    told = fallocate(fd, 0, 0, 1 << 20) == 0 && lseek(fd, 0, SEEK_HOLE) == 0;
    close(fd);
    unlink(name);
    return told;
}

int main(int argc, char **argv)
{
    walrec_config_t config;
    walrec_t *log;
    const char *dir;
    unsigned i;
    off_t size = (off_t)HEADER_BYTES + 64 * (off_t)BLOCK_BYTES;

    check_begin(argc, argv, 60);
    if (!tells()) {
        printf("SKIP prewritten: NOT run, this file system does not tell allocated extents from written ones\n");
        return check_end();
    }
    dir = path("log");
    config = config_small();
    config.num_blocks = 64;
    config.stage_slots = SLOTS;
    log = log_open(dir, &config);
    while (prepared(log) < SLOTS)
        pause_us(200);
    for (i = 0; i < SLOTS; i++) {
        off_t written = written_bytes(segment(dir, i));
        if (i < SLOTS / 2)
            CHECK(written <= 1 << 16); /* the header's page, in the file system's own steps */
        else
            CHECK(written >= size);
    }

    /* In the course of things every segment is written in advance, and what was recorded is right. */
    for (i = 0; i < 8; i++) {
        append_range(log, i * 64 * EVENTS_PER_BLOCK + 1, (i + 1) * 64 * EVENTS_PER_BLOCK);
        while (prepared(log) < SLOTS - 1)
            pause_us(200);
    }
    for (i = 8; i < 8 + SLOTS - 1; i++)
        CHECK(written_bytes(segment(dir, i)) >= size);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    log_holds(dir, 1, 8 * 64 * EVENTS_PER_BLOCK);

    /* A close in the midst leaves nothing half made. */
    append_range(log, 8 * 64 * EVENTS_PER_BLOCK + 1, 10 * 64 * EVENTS_PER_BLOCK + 1);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    for (i = 0; i < 32; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/FS.%08u.new", dir, i);
        CHECK(!exists(name));
    }
    log_holds(dir, 1, 10 * 64 * EVENTS_PER_BLOCK + 1);
    return check_end();
}
