/*
 * A full disk: appends are refused, nothing is half recorded, nothing that was appended is lost, and the recorder goes on by itself when
 * there is space again. A SIGBUS would end the subject.
 *
 * `full_disk WORK ROUNDS SEED`: WORK lies on a small file system of its own, which a second process, the glutton, eats up to the last
 * byte and inode. It takes what anybody gives back, so that the disk stays full. After the stories come ROUNDS rounds of a recorder that
 * appends at full speed while space comes and goes at random, and that is killed or closed at random.
 */
#include "check.h"
#include "glutton.h"

#define SEGMENT_EVENTS 4096u
#define WAIT_LIMIT_US 100000u

/* ---- stories -------------------------------------------------------------- */

/* Told at once: what poisoned a recorder is the first thing to know. */
static void hear_errors(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level == WALREC_LOG_ERROR)
        check_fail(__FILE__, __LINE__, "the recorder says: %s", message);
}

static walrec_config_t config_full(uint32_t policy)
{
    walrec_config_t config = config_small();
    config.log_cb = hear_errors;
    config.full_policy = policy;
    config.wait_limit_us = WAIT_LIMIT_US;
    return config;
}

static uint64_t refusals;

/* Refused in every way: nothing of it is there. What the file system gives back late may let one more segment through in between; then
 * all of it is there. Gives the last event. */
static uint64_t check_refused(walrec_t *log, uint64_t last)
{
    walrec_meta_state_t state;
    walrec_event_t batch[3], *slot = (walrec_event_t *)(uintptr_t)64;
    walrec_status_t status;
    size_t done = 77;
    int i;
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(last, state.last_event_id);
    for (i = 0; i < 3; i++)
        batch[i] = event_of(last + 1 + (uint64_t)i);
    status = walrec_append_batch(log, batch, 3, &done);
    if (status != WALREC_E_BACKPRESSURE)
        CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_OK, status);
    CHECK_U64(status == WALREC_OK ? 3 : 0, done);
    last += done;
    refusals += 1 + (status != WALREC_OK);
    CHECK_U64(last, walrec_last_event_id(log));
    status = walrec_reserve(log, &slot);
    if (status != WALREC_E_BACKPRESSURE)
        CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_OK, status);
    CHECK((slot == NULL) == (status != WALREC_OK));
    CHECK_STATUS(status == WALREC_OK ? WALREC_OK : WALREC_E_INVALID, walrec_abort(log));
    refusals += status != WALREC_OK;
    CHECK_U64(last, walrec_last_event_id(log));
    return last;
}

/* Appends behind `last` until there is no space for more; gives the last event. */
static uint64_t append_until_full(walrec_t *log, uint64_t last, uint32_t policy)
{
    unsigned refused = 0;
    while (refused < 3) {
        walrec_event_t event = event_of(last + 1);
        uint64_t begin = now_ns(), took;
        walrec_status_t status = walrec_append(log, &event);
        took = now_ns() - begin;
        if (status == WALREC_OK) {
            last++;
            refused = 0;
            continue;
        }
        /* The flusher may not have come to the end yet: then it is the slots that are missing. */
        if (status != WALREC_E_BACKPRESSURE)
            REQUIRE_STATUS(WALREC_E_NOSPACE, status);
        if (policy == WALREC_FULL_WAIT)
            CHECK(took >= WAIT_LIMIT_US * UINT64_C(1000));
        CHECK_U64(last, walrec_last_event_id(log));
        if (status == WALREC_E_NOSPACE) {
            stays_full();
            last = check_refused(log, last);
            refused++;
        }
        pause_us(100);
    }
    return last;
}

/* Nothing but time is needed. */
static uint64_t append_through(walrec_t *log, uint64_t last, uint64_t count)
{
    uint64_t end = last + count;
    while (last < end) {
        walrec_event_t event = event_of(last + 1);
        walrec_status_t status = walrec_append(log, &event);
        if (status == WALREC_OK) {
            last++;
            continue;
        }
        if (status != WALREC_E_BACKPRESSURE)
            REQUIRE_STATUS(WALREC_E_NOSPACE, status);
        pause_us(50);
    }
    return last;
}

static void verified(const char *dir, uint64_t first, uint64_t last)
{
    walrec_verify_report_t report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, &report));
    CHECK_U64(0, report.fault_reason);
    CHECK_U64(first, report.first_event_id);
    CHECK_U64(last, report.last_event_id);
    log_holds(dir, first, last);
}

/* The control: the disk is so full that a store to a mapped file without its space is a SIGBUS, and that is seen. */
static void map_and_store(void *unused)
{
    volatile char *bytes;
    int fd = open(path("mapped"), O_RDWR | O_CLOEXEC);
    (void)unused;
    REQUIRE(fd >= 0);
    bytes = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(bytes != MAP_FAILED);
    bytes[40000] = 1;
}

static void mapped_file_dies(void)
{
    int status, fd = open(path("mapped"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, 65536) == 0);
    close(fd);
    set_full(1);
    status = wait_child(start_child(map_and_store, NULL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    set_full(0);
    unlink(path("mapped"));
}

/* Full, read while full, space again, closed; full at close and at open. */
static void full_and_on(uint32_t policy)
{
    const char *dir = path(policy == WALREC_FULL_WAIT ? "wait" : "fail");
    walrec_config_t config = config_full(policy);
    walrec_t *log = log_open(dir, &config);
    uint64_t last = 0;
    int i;
    append_range(log, 1, 1000);
    last = 1000;
    for (i = 0; i < 2; i++) {
        set_full(1);
        last = append_until_full(log, last, policy);
        /* What was appended is durable all the same: its space was taken beforehand. */
        CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));
        CHECK_U64(last, walrec_durable_event_id(log));
        log_holds(dir, 1, last);
        set_full(0);
        last = append_through(log, last, 5 * SEGMENT_EVENTS + 100);
    }
    set_full(1);
    last = append_until_full(log, last, policy);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    stays_full();
    verified(dir, 1, last);

    /* Opened on the full disk: all is there, and after what little room there is, it says so. */
    log = log_open(dir, &config);
    CHECK_U64(last, walrec_last_event_id(log));
    last = append_until_full(log, last, policy);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));
    log_holds(dir, 1, last);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log = log_open(dir, &config);
    set_full(0);
    last = append_through(log, last, 3 * SEGMENT_EVENTS);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    verified(dir, 1, last);
}

struct killed {
    uint64_t last;
};

static void fill_and_die(void *argument)
{
    struct killed *k = argument;
    walrec_config_t config = config_full(WALREC_FULL_FAIL);
    walrec_t *log = log_open(path("killed"), &config);
    uint64_t last = append_until_full(log, walrec_last_event_id(log), WALREC_FULL_FAIL);
    if (check_failed == 0) {
        k->last = last;
        raise(SIGKILL);
    }
}

/* Killed on the full disk, three times, opened there, and then given space. */
static void killed_when_full(void)
{
    const char *dir = path("killed");
    struct killed *k = shared_memory(sizeof *k);
    walrec_config_t config = config_full(WALREC_FULL_FAIL);
    walrec_t *log = log_open(dir, &config);
    uint64_t last;
    int i;
    append_range(log, 1, 500);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    for (i = 0; i < 3; i++) {
        int status;
        set_full(1);
        status = wait_child(start_child(fill_and_die, k));
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        stays_full();
        log = log_open(dir, &config);
        CHECK_U64(k->last, walrec_last_event_id(log));
        CHECK_U64(k->last, walrec_durable_event_id(log));
        log_holds(dir, 1, k->last);
        last = append_until_full(log, k->last, WALREC_FULL_FAIL);
        if (i == 1)
            set_full(0);
        if (i == 1)
            last = append_through(log, last, 2 * SEGMENT_EVENTS);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        verified(dir, 1, last);
    }
    set_full(0);
    log = log_open(dir, &config);
    last = append_through(log, last, 3 * SEGMENT_EVENTS);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    verified(dir, 1, last);
}

/* A log that is not there yet: an error, and no harm to the next try. */
static void created_when_full(void)
{
    const char *dir = path("created");
    walrec_config_t config = config_full(WALREC_FULL_FAIL);
    walrec_t *log = NULL;
    walrec_status_t status;
    uint64_t last = 0;
    set_full(1);
    status = walrec_open(dir, &config, &log);
    if (status == WALREC_OK) {
        /* Its small files found room. The first segment hardly does. */
        last = append_until_full(log, 0, WALREC_FULL_FAIL);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    } else {
        CHECK_STATUS(WALREC_E_NOSPACE, status);
        CHECK(log == NULL);
        CHECK_MESSAGE(strerror(ENOSPC));
    }
    set_full(0);
    log = log_open(dir, &config);
    append_range(log, last + 1, last + 100);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    verified(dir, 1, last + 100);
}

static struct segment_scan wait_for_segments(const char *dir, uint64_t least_frozen, uint64_t most_hot)
{
    struct segment_scan scan;
    for (;;) {
        scan = scan_segments(dir);
        if (scan.frozen >= least_frozen && scan.hot <= most_hot)
            return scan;
        pause_us(1000);
    }
}

/* A freeze that finds no space leaves the .wal; with space it is made up for. */
static void frozen_when_full(void)
{
    const char *dir = path("frozen");
    walrec_config_t config = config_full(WALREC_FULL_FAIL);
    struct segment_scan before, after;
    walrec_t *log;
    uint64_t last;
    config.max_segments = 3;
    log = log_open(dir, &config);
    last = append_through(log, 0, 6 * SEGMENT_EVENTS);
    before = wait_for_segments(dir, 2, UINT64_MAX);
    set_full(1);
    last = append_until_full(log, last, WALREC_FULL_FAIL);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));
    before = scan_segments(dir);
    /* More than the limit allows: what is to be frozen still stands. */
    CHECK(before.hot > 3);
    log_holds(dir, 1, last);
    set_full(0);
    last = append_through(log, last, 2 * SEGMENT_EVENTS);
    after = wait_for_segments(dir, before.frozen + 1, 3 + config.stage_slots);
    CHECK(after.frozen > before.frozen);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    verified(dir, 1, last);
}

/* Retention is what makes room: a log within its limits goes on for ever on a disk that is little larger. */
static void retention_makes_room(void)
{
    const char *dir = path("retained");
    walrec_config_t config = config_small();
    struct segment_scan scan;
    walrec_open_report_t report;
    struct statvfs space;
    walrec_t *log;
    uint64_t last;
    int filler;
    off_t size;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    config.flags = WALREC_FLAG_NO_COMPRESS;
    config.max_segments = 3;
    config.max_compressed_segments = 2;
    log = log_open(dir, &config);
    append_range(log, 1, 10);
    /* Room for 24 segments of 0.26 MB: the limits, the pool, and what is being deleted. */
    REQUIRE(statvfs(check_work, &space) == 0);
    size = (off_t)(space.f_bavail * space.f_frsize) - 24 * 270000;
    filler = open(path("most"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    REQUIRE(filler >= 0 && size > 0 && fallocate(filler, 0, 0, size) == 0);
    append_range(log, 11, 120 * SEGMENT_EVENTS);
    last = 120 * SEGMENT_EVENTS;
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    scan = scan_segments(dir);
    CHECK(scan.lowest > 100);
    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    verified(dir, report.first_event_id, last);
    close(filler);
    unlink(path("most"));
}

/* ---- rounds --------------------------------------------------------------- */

/* Where data and metadata share their space (btrfs, mixed), a sync may find none, and a failed sync poisons. Then nothing may be lost. */
static int syncs_may_fail;

struct round {
    uint64_t seed;
    /* By the recorder: open, its last appended event, its refusals, closed; poisoned, and refused to open. */
    uint32_t opened, closed;
    uint64_t reported, refused, poisoned, unopened;
    /* By the parent. */
    uint32_t stop;
};

static void record_a_round(void *argument)
{
    struct round *r = argument;
    const char *dir = path("rounds");
    walrec_config_t config = config_full((uint32_t)(r->seed & 1));
    walrec_open_report_t report;
    walrec_t *log;
    uint64_t last;
    config.wait_limit_us = 2000;
    config.max_segments = 3;
    config.max_compressed_segments = 3;
    if (r->seed & 2)
        config.flags = WALREC_FLAG_NO_COMPRESS;
    if (syncs_may_fail) {
        config.log_cb = NULL;
        walrec_status_t status = walrec_open(dir, &config, &log);
        if (status != WALREC_OK) {
            CHECK_STATUS(WALREC_E_NOSPACE, status);
            r->unopened++;
            return;
        }
    } else {
        log = log_open(dir, &config);
    }
    last = walrec_last_event_id(log);
    /* At most the one more whose append had not returned. */
    if (last != r->reported && last != r->reported + 1)
        check_fail(__FILE__, __LINE__, "reported %" PRIu64 ", recovered %" PRIu64, r->reported, last);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK((report.flags & (WALREC_OPEN_STAGE_MISSING | WALREC_OPEN_STAGE_SET_ASIDE | WALREC_OPEN_SALVAGED)) == 0);
    CHECK_U64(last, walrec_durable_event_id(log));
    /* Without space for wal_meta.dat, which is one more thing that may fail there, a reader beside the recorder lags behind. */
    if (last > 0 && (!syncs_may_fail || r->stop))
        log_holds(dir, report.first_event_id, last);
    __atomic_store_n(&r->reported, last, __ATOMIC_RELEASE);
    __atomic_store_n(&r->opened, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
        walrec_event_t event = event_of(last + 1);
        walrec_status_t status = walrec_append(log, &event);
        if (status == WALREC_OK) {
            __atomic_store_n(&r->reported, ++last, __ATOMIC_RELEASE);
            continue;
        }
        if (syncs_may_fail && status == WALREC_E_FAILED)
            break;
        CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_E_BACKPRESSURE, status);
        CHECK_U64(last, walrec_last_event_id(log));
        r->refused++;
        if (check_failed != 0)
            return;
        pause_us(20);
    }
    if (syncs_may_fail)
        r->poisoned += walrec_close(log) != WALREC_OK;
    else
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    __atomic_store_n(&r->closed, check_failed == 0, __ATOMIC_RELEASE);
}

static void rounds(uint64_t count, uint64_t seed)
{
    struct round *r = shared_memory(sizeof *r);
    uint64_t x = seed, done, kills = 0, on_full = 0;
    walrec_config_t config = config_full(WALREC_FULL_FAIL);
    CHECK_STATUS(WALREC_OK, walrec_close(log_open(path("rounds"), &config)));
    for (done = 0; done < count && check_failed == 0; done++) {
        siginfo_t ended = {0};
        int killed, status;
        unsigned turns;
        pid_t pid;
        r->seed = x = mix(x);
        r->opened = r->closed = r->stop = 0;
        pid = start_child(record_a_round, r);
        for (turns = 1 + (unsigned)(x >> 8) % 4; turns > 0; turns--) {
            x = mix(x);
            set_full(glutton->wanted ^ 1);
            pause_us((long)(x % 15000));
        }
        /* Left as it is, should it have ended. */
        while (!__atomic_load_n(&r->opened, __ATOMIC_ACQUIRE) && waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               ended.si_pid == 0)
            pause_us(100);
        pause_us((long)(mix(x) % 5000));
        killed = (int)(x >> 60) & 1;
        if (killed)
            kill(pid, SIGKILL);
        else
            __atomic_store_n(&r->stop, 1, __ATOMIC_RELEASE);
        status = wait_child(pid);
        on_full += glutton->reached;
        if (killed && !(syncs_may_fail && WIFEXITED(status))) {
            kills++;
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        } else {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && (r->closed || syncs_may_fail));
        }
    }
    set_full(0);
    r->seed = 0;
    r->stop = 1;
    if (count > 0)
        CHECK_CHILD(record_a_round, r);
    CHECK(!syncs_may_fail || (r->poisoned > 0 && r->closed));
    if (count > 0)
        printf("FIGURE full disk: seed %" PRIu64 ", %" PRIu64 " rounds, %" PRIu64 " killed, %" PRIu64
               " ended on a full disk, %" PRIu64 " events, %" PRIu64 " refused, %" PRIu64 " poisoned, %" PRIu64
               " not opened: %lu failed\n",
               seed, done, kills, on_full, r->reported, r->refused, r->poisoned, r->unopened, check_failed);
    CHECK(count < 10 || (r->refused > 0 && kills > 0 && on_full > 0));
}

static void stories(void)
{
    mapped_file_dies();
    full_and_on(WALREC_FULL_FAIL);
    full_and_on(WALREC_FULL_WAIT);
    killed_when_full();
    created_when_full();
    frozen_when_full();
    retention_makes_room();
    printf("FIGURE full disk: %" PRIu64 " appends, batches and reservations refused in six stories, nothing half recorded: %lu failed\n",
           refusals, check_failed);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    check_begin(argc, argv, 120 + (unsigned)count);
    REQUIRE(mkdir(path("filler"), 0700) == 0);
    glutton = shared_memory(sizeof *glutton);
    glutton->pid = start_child(be_the_glutton, NULL);
    syncs_may_fail = argc > 4;
    if (!syncs_may_fail)
        stories();
    rounds(count, seed);
    kill(glutton->pid, SIGKILL);
    wait_child(glutton->pid);
    return check_end();
}
