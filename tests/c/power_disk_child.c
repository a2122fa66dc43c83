/*
 * The recorder of tests/power_disk: it runs on a file system that is about to be cut off, and notes what it knows.
 *
 *   power_disk_child record   LOG STAGE_DIR NOTES SEED LIFE STEPS END WRITE_LOG   a random session; END: close | kill
 *   power_disk_child lie      (the same)                                          every sync does nothing: the negative control
 *   power_disk_child shutdown LOG STAGE_DIR NOTES SEED FLAGS                      the file system is shut down under it
 *
 * NOTES is a file that every line is added to in one write. AT is a number of entries of WRITE_LOG, the record of all that
 * the block device was given (0 where there is none):
 *   limits HOT COLD     max_segments and max_compressed_segments
 *   appending ID AT     at AT, no event above the one of the line before was on the device; now those up to ID are appended
 *   segment INDEX ID    event ID is the first of its segment
 *   durable ID AT       what the device was given before AT holds ID: durable, or recovered by an open that returned
 * Of a shutdown, AT is 1 for what was durable when it began, and 2 for what was durable at the end.
 * Ids count from 1 without a gap; every event's fields derive from its id.
 */
#include "check.h"

#include <sys/ioctl.h>
#include <sys/syscall.h>

#define FS_SHUTDOWN _IOR('X', 125, uint32_t)

static int notes = -1, write_log = -1, lie;
static uint64_t state;

static uint64_t pick(uint64_t below)
{
    state = mix(state);
    return state % below;
}

static void note(const char *what, uint64_t one, uint64_t two)
{
    REQUIRE(dprintf(notes, "%s %" PRIu64 " %" PRIu64 "\n", what, one, two) > 0);
}

/* Entries of the write log: the third word of its first sector, written after the entry. */
static uint64_t entries(void)
{
    uint64_t count = 0;
    if (write_log >= 0)
        REQUIRE(pread(write_log, &count, sizeof count, 16) == sizeof count);
    return count;
}

static walrec_config_t config_of(uint64_t seed, const char *stage_dir)
{
    walrec_config_t config = config_small();
    state = mix(seed ^ 0xc0);
    config.stage_dir = stage_dir;
    config.stage_slots = 3 + (uint32_t)pick(2);
    config.max_segments = 2 + (uint32_t)pick(2);
    config.max_compressed_segments = 1 + (uint32_t)pick(3);
    note("limits", config.max_segments, config.max_compressed_segments);
    return config;
}

/* ---- the library's syncs ------------------------------------------------------ */

/* Entries when the flusher's last sync returned. */
static uint64_t synced_at;

static int sync_and_note(long call, int descriptor)
{
    char name[16] = "";
    int result = lie ? 0 : (int)syscall(call, descriptor), error = errno;
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "walrec-flush") == 0)
        __atomic_store_n(&synced_at, entries(), __ATOMIC_RELEASE);
    errno = error;
    return result;
}

/* The program's own come before those of the C library. */
int fdatasync(int descriptor)
{
    return sync_and_note(SYS_fdatasync, descriptor);
}

int fsync(int descriptor)
{
    return sync_and_note(SYS_fsync, descriptor);
}

/* ---- what is durable, seen from another thread ------------------------------ */

static struct {
    walrec_t *log;
    pthread_t thread;
    int stop;
} watch;

/* The id is read before the place of the last sync: the sync that made it durable is that one, or one before. */
static void *watch_durable(void *recovered)
{
    uint64_t seen = *(uint64_t *)recovered;
    while (!__atomic_load_n(&watch.stop, __ATOMIC_ACQUIRE)) {
        uint64_t id = walrec_durable_event_id(watch.log);
        if (id > seen)
            note("durable", id, __atomic_load_n(&synced_at, __ATOMIC_ACQUIRE));
        else
            pause_us(5);
        seen = id;
    }
    return NULL;
}

static walrec_t *start(const char *dir, const walrec_config_t *config)
{
    static uint64_t recovered;
    walrec_t *log = log_open(dir, config);
    recovered = walrec_last_event_id(log);
    note("durable", recovered, entries());
    watch.log = log;
    watch.stop = 0;
    REQUIRE(pthread_create(&watch.thread, NULL, watch_durable, &recovered) == 0);
    return log;
}

static void end(walrec_t *log)
{
    REQUIRE_STATUS(WALREC_OK, walrec_shutdown(log));
    __atomic_store_n(&watch.stop, 1, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(watch.thread, NULL) == 0);
    REQUIRE_STATUS(WALREC_OK, walrec_close(log));
}

/* ---- a session -------------------------------------------------------------- */

/* One event; noted when it is the first of its segment. */
static walrec_status_t append_one(walrec_t *log, uint64_t id)
{
    walrec_event_t event = event_of(id);
    walrec_meta_state_t position;
    walrec_status_t status = walrec_append(log, &event);
    if (status != WALREC_OK)
        return status;
    REQUIRE_STATUS(WALREC_OK, walrec_meta_state(log, &position));
    if (position.last_offset == HEADER_BYTES + HEADER_BYTES + sizeof event)
        note("segment", position.last_segment_index, id);
    return status;
}

static void append(walrec_t *log, uint64_t count)
{
    uint64_t id = walrec_last_event_id(log), last = id + count;
    note("appending", last, entries());
    while (++id <= last)
        REQUIRE_STATUS(WALREC_OK, append_one(log, id));
}

static void record(const char *dir, const char *stage_dir, uint64_t seed, uint64_t life, uint64_t steps, const char *how)
{
    static const uint64_t counts[] = {1, 3, 40, 200, 256, 300, 1000};
    walrec_config_t config = config_of(seed, stage_dir);
    walrec_t *log = start(dir, &config);
    state = mix(seed + life);
    while (steps-- > 0) {
        append(log, counts[pick(sizeof counts / sizeof *counts)]);
        switch (pick(10)) {
        case 0:
        case 1:
            REQUIRE_STATUS(WALREC_OK, walrec_rotate(log));
            break;
        case 2:
            /* The partial block is finalized, and resumed. */
            end(log);
            log = start(dir, &config);
            break;
        case 3:
        case 4:
            pause_us((long)pick(3000));
            break;
        case 5:
            break;
        default:
            REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
        }
    }
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    end(log);
}

/* ---- the file system is shut down -------------------------------------------- */

static struct {
    const walrec_t *log;
    int directory;
    uint32_t flags;
    long delay_us;
} cut;

static void *shut_down(void *unused)
{
    (void)unused;
    pause_us(cut.delay_us);
    note("durable", walrec_durable_event_id(cut.log), 1);
    REQUIRE(ioctl(cut.directory, FS_SHUTDOWN, &cut.flags) == 0);
    return NULL;
}

/* Appends until it is refused for good; gives the last id. */
static uint64_t append_until_refused(walrec_t *log)
{
    uint64_t id = walrec_last_event_id(log), begin = now_ns();
    walrec_status_t status;
    for (;;) {
        status = append_one(log, id + 1);
        if (status == WALREC_OK) {
            id++;
            if (pick(50) == 0)
                pause_us((long)pick(300));
            if (pick(3000) == 0)
                walrec_rotate(log);
        } else if (status != WALREC_E_BACKPRESSURE) {
            break;
        }
        REQUIRE(now_ns() - begin < 20 * SECOND_NS);
    }
    CHECK_STATUS(WALREC_E_FAILED, status);
    return id;
}

static void survive_shutdown(const char *dir, const char *stage_dir, uint64_t seed, uint32_t flags)
{
    walrec_config_t config = config_of(seed, stage_dir);
    walrec_t *log;
    pthread_t thread;
    uint64_t last, durable;
    config.full_policy = WALREC_FULL_FAIL;
    state = mix(seed);
    log = log_open(dir, &config);
    cut.directory = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(cut.directory >= 0);
    cut.log = log;
    cut.flags = flags;
    cut.delay_us = (long)pick(60000);
    REQUIRE(pthread_create(&thread, NULL, shut_down, NULL) == 0);
    last = append_until_refused(log);
    REQUIRE(pthread_join(thread, NULL) == 0);

    durable = walrec_durable_event_id(log);
    CHECK(durable <= last);
    CHECK_STATUS(durable == last ? WALREC_OK : WALREC_E_FAILED, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_E_FAILED, append_one(log, last + 1));
    pause_us(5000);
    CHECK_U64(durable, walrec_durable_event_id(log));
    note("appending", last, 0);
    note("durable", durable, 2);
    close(cut.directory);
    CHECK_STATUS(WALREC_E_FAILED, walrec_close(log));
    /* Which file, and what the system said. */
    check_message(__FILE__, __LINE__, dir);
    check_message(__FILE__, __LINE__, "(os error ");
}

int main(int argc, char **argv)
{
    uint64_t seed;
    if (argc < 7) {
        fprintf(stderr, "usage: see the head of power_disk_child.c\n");
        return 2;
    }
    /* Nothing outlives the test for long. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    seed = strtoull(argv[5], NULL, 10);
    notes = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    REQUIRE(notes >= 0);
    lie = strcmp(argv[1], "lie") == 0;
    if (argc == 10) {
        write_log = open(argv[9], O_RDONLY | O_CLOEXEC);
        REQUIRE(write_log >= 0);
        record(argv[2], argv[3], seed, strtoull(argv[6], NULL, 10), strtoull(argv[7], NULL, 10), argv[8]);
    } else {
        survive_shutdown(argv[2], argv[3], seed, (uint32_t)strtoul(argv[6], NULL, 10));
    }
    return check_failed == 0 ? 0 : 1;
}
