/*
 * A short life of a log, the same each time, for faults to meet: tests/sites runs it under fault_shim.c and strace.
 *
 *   fault_child setup SCENARIO WORK    what comes before: an earlier life, ended as the scenario says
 *   fault_child live  SCENARIO WORK    opens WORK/log, appends, rotates, syncs, freezes, deletes, closes; opens and reads again
 *   fault_child alone SCENARIO WORK    the same without what comes after the close
 *   fault_child check SCENARIO WORK    opens what a killed life left, reads and verifies it, closes
 *
 * Scenarios: `fresh` no log; `resume` closed in the middle of a block; `recover` killed, with events that only the stage
 * has; `moved` the same, and the stage is to be elsewhere; `lost` killed, its stage gone, garbage behind its last event;
 * `torn` killed, its stage gone, garbage in a segment without an event; `leftovers` of every kind, and a segment in both
 * forms.
 *
 * WORK/control holds the id of the last event whose append returned. A life that meets an error looks at everything the
 * error must be seen in; then the fault is taken away, and the log must open in this same process with everything in it.
 * One word on what happened is printed as `outcome`, what was said about it as `text` and `heard`.
 */
#include "check.h"
#include "fault.h"
#include "heard.h"
#include "verdict.h"

enum {
    GRACE = 256, /* events that may still be accepted after a failure */
    SLOTS = 4,
    ROTATIONS = 4,
};

static const char *scenario;
static uint64_t *reported;
static struct fault_words *fault;
static struct heard *heard;
static int for_ever, alone, before;

static int is(const char *name)
{
    return strcmp(scenario, name) == 0;
}

static walrec_config_t config(void)
{
    walrec_config_t config = config_heard(heard);
    if (is("moved") && !before)
        config.stage_dir = path("shm");
    config.stage_slots = SLOTS;
    config.max_segments = 2;
    config.max_compressed_segments = 1;
    config.full_policy = WALREC_FULL_FAIL;
    /* What is flushed when is decided by the syncs alone, so that each life makes the same calls. */
    config.flush_interval_us = 1000000;
    return config;
}

/* ---- appending -------------------------------------------------------------- */

struct life {
    walrec_t *log;
    uint64_t last;          /* appended */
    walrec_status_t status; /* of the first call that could not be done */
    char text[4096];
};

static void stopped(struct life *life, walrec_status_t status)
{
    life->status = status;
    life->text[0] = '\0';
    walrec_last_error(life->text, sizeof life->text);
}

/* A fault that never goes away has come, and it is one that is waited out. */
static int is_hopeless(void)
{
    return for_ever && fault->fired > 0 && !fault->disarmed;
}

/* Whether a refusal may be waited out. */
static int may_wait(walrec_status_t status, uint64_t begin)
{
    uint64_t limit = status == WALREC_E_NOSPACE && is_hopeless() ? SECOND_NS / 10 : 15 * SECOND_NS;
    if ((status != WALREC_E_BACKPRESSURE && status != WALREC_E_NOSPACE) || now_ns() - begin > limit)
        return 0;
    pause_us(200);
    return 1;
}

static void append_some(struct life *life, unsigned n)
{
    while (n-- > 0 && life->status == WALREC_OK) {
        walrec_event_t event = event_of(life->last + 1);
        uint64_t begin = now_ns();
        walrec_status_t status;
        while ((status = walrec_append(life->log, &event)) != WALREC_OK && may_wait(status, begin)) {
        }
        if (status != WALREC_OK) {
            stopped(life, status);
            return;
        }
        life->last++;
        __atomic_store_n(reported, life->last, __ATOMIC_RELEASE);
    }
}

static void rotate(struct life *life)
{
    uint64_t begin = now_ns();
    walrec_status_t status;
    if (life->status != WALREC_OK)
        return;
    while ((status = walrec_rotate(life->log)) != WALREC_OK && may_wait(status, begin)) {
    }
    if (status != WALREC_OK)
        stopped(life, status);
}

static void sync_all(struct life *life)
{
    uint64_t begin = now_ns();
    walrec_status_t status;
    if (life->status != WALREC_OK)
        return;
    do
        status = walrec_sync(life->log, 0, SECOND_NS / 5);
    while (status == WALREC_E_TIMEOUT && !is_hopeless() && now_ns() - begin < 15 * SECOND_NS);
    if (status != WALREC_OK)
        stopped(life, status);
    else
        CHECK_U64(life->last, walrec_durable_event_id(life->log));
}

static walrec_telemetry_t telemetry_of(const walrec_t *log)
{
    walrec_telemetry_t telemetry;
    memset(&telemetry, 0, sizeof telemetry);
    telemetry.struct_size = sizeof telemetry;
    CHECK_STATUS(WALREC_OK, walrec_telemetry(log, &telemetry));
    return telemetry;
}

/* Until the workers have nothing left to do: each life is to come by the same calls. */
static void settle(struct life *life, uint64_t prepared, uint64_t sealed)
{
    uint64_t begin = now_ns();
    while (life->status == WALREC_OK) {
        walrec_telemetry_t telemetry = telemetry_of(life->log);
        if (telemetry.poisoned)
            stopped(life, WALREC_E_FAILED);
        else if (telemetry.prepared_now == prepared && telemetry.segments_sealed == sealed)
            return;
        else if (!may_wait(WALREC_E_NOSPACE, begin))
            stopped(life, WALREC_E_NOSPACE);
    }
}

/* Segments of one block, of several, and one that is left before it is synced. */
static void go_on(struct life *life)
{
    static const unsigned first[] = {300, 40, 600, 10}, second[] = {30, 0, 20, 0};
    unsigned i;
    for (i = 0; i < ROTATIONS; i++) {
        append_some(life, first[i]);
        sync_all(life);
        append_some(life, second[i]);
        rotate(life);
    }
    append_some(life, 300);
    sync_all(life);
    append_some(life, 5);
    settle(life, SLOTS - 1, ROTATIONS);
}

/* The error is the first one of this recorder's life, the one that was told when it came. */
static void check_cause(const char *text)
{
    char cause[4096], *end;
    const char *told = strstr(heard->text, "poisoned: ");
    CHECK(told != NULL);
    if (told == NULL)
        return;
    snprintf(cause, sizeof cause, "%s", told + strlen("poisoned: "));
    end = strchr(cause, '\n');
    if (end != NULL)
        *end = '\0';
    if (strstr(text, cause) == NULL)
        check_fail(__FILE__, __LINE__, "not the first error, \"%s\", but \"%s\"", cause, text);
}

/* A poisoned recorder: refused, frozen, and told everywhere. */
static void poisoned(struct life *life)
{
    uint64_t durable = walrec_durable_event_id(life->log), begin = now_ns();
    walrec_status_t status = WALREC_OK;
    unsigned n;
    for (n = 0; n <= GRACE && status == WALREC_OK; n++) {
        walrec_event_t event = event_of(life->last + 1);
        status = walrec_append(life->log, &event);
        if (status == WALREC_OK)
            __atomic_store_n(reported, ++life->last, __ATOMIC_RELEASE);
    }
    CHECK_STATUS(WALREC_E_FAILED, status);
    CHECK_STATUS(WALREC_E_FAILED, walrec_rotate(life->log));
    /* At once, though there is no limit to the wait. */
    life->text[0] = '\0';
    if (durable < life->last) {
        CHECK_STATUS(WALREC_E_FAILED, walrec_sync(life->log, 0, NO_LIMIT));
        stopped(life, WALREC_E_FAILED);
    }
    CHECK(now_ns() - begin < 10 * SECOND_NS);
    CHECK_U64(1, telemetry_of(life->log).poisoned);
    CHECK_U64(durable, walrec_durable_event_id(life->log));
}

/* ---- what is there ----------------------------------------------------------- */

static int next_of_reader(void *from, walrec_event_t *event)
{
    walrec_status_t status = walrec_reader_next(from, event);
    if (status != WALREC_OK)
        CHECK_STATUS(WALREC_END, status);
    return status == WALREC_OK;
}

/* What a reader gives: right, gapless, and from `least` to `most`. */
static uint64_t read_all(const char *dir, uint64_t least, uint64_t most)
{
    walrec_reader_t *reader = NULL;
    struct verdict v;
    walrec_status_t status = walrec_reader_open(dir, 0, 0, &reader);
    if (status == WALREC_E_NOT_FOUND && least == 0)
        return 0;
    if (!check_status(__FILE__, __LINE__, "walrec_reader_open", WALREC_OK, status))
        return 0;
    v = verify(next_of_reader, reader, 0, least);
    walrec_reader_close(reader);
    CHECK_U64(0, v.wrong);
    CHECK_U64(0, v.lost);
    if (v.last > most)
        CHECK_U64(most, v.last);
    return v.last;
}

static void is_no_leftover(const char *dir, const char *name, void *unused)
{
    (void)unused;
    if (strstr(name, ".new") != NULL || strstr(name, ".tmp") != NULL || strstr(name, ".del") != NULL)
        check_fail(__FILE__, __LINE__, "%s/%s was left", dir, name);
}

/* Where a log's stage is by default. */
static const char *default_stage(const char *dir)
{
    static char stage[64] = "/dev/shm/walrec-";
    char name[8192];
    FILE *file;
    snprintf(name, sizeof name, "%s/walrec.id", dir);
    file = fopen(name, "r");
    REQUIRE(file != NULL);
    REQUIRE(fscanf(file, "%32s", stage + strlen("/dev/shm/walrec-")) == 1);
    fclose(file);
    return stage;
}

/* Opens, without any fault: everything reported is there, and at most `more` events; reads, verifies, closes. */
static void hold(const char *dir, uint64_t more)
{
    walrec_config_t c = config();
    walrec_t *log = NULL;
    walrec_verify_report_t report;
    char stage[8192];
    uint64_t last;
    REQUIRE_STATUS(WALREC_OK, walrec_open(dir, &c, &log));
    last = walrec_last_event_id(log);
    CHECK_U64(last, walrec_durable_event_id(log));
    if (last < *reported || last > *reported + more)
        check_fail(__FILE__, __LINE__, "%" PRIu64 " events were appended, %" PRIu64 " recovered", *reported, last);
    CHECK_U64(last, read_all(dir, last, last));
    stage_path(dir, stage, sizeof stage);
    CHECK(exists(stage));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK(!exists(stage));
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_verify(dir, &report));
    CHECK_U64(last, read_all(dir, last, last));
    for_each_entry(dir, is_no_leftover, NULL);
    /* Nor a stage where an earlier opening had it. */
    CHECK(!exists(default_stage(dir)));
}

/* ---- the life ----------------------------------------------------------------- */

static void told(const char *outcome, walrec_status_t status, const char *text)
{
    char *line;
    printf("outcome %s %d\ntext %s\n", outcome, (int)status, text);
    pthread_mutex_lock(&heard->lock);
    for (line = strtok(heard->text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        printf("heard %s\n", line);
    heard->text[0] = '\0';
    pthread_mutex_unlock(&heard->lock);
}

/* An open that was refused: nothing changed before the first change, no lock is left, and the next one has it all. */
static void refused(const char *dir, const walrec_config_t *c, struct life *life, uint64_t digest)
{
    CHECK(life->log == NULL);
    if (fault->fired > 0 && fault->changed_before == 0)
        CHECK_U64(digest, tree_digest(dir));
    fault->disarmed = 1;
    told("refused", life->status, life->text);
    REQUIRE_STATUS(WALREC_OK, walrec_open(dir, c, &life->log));
    life->status = WALREC_OK;
}

static void live(const char *dir)
{
    walrec_config_t c = config();
    struct life life;
    uint64_t digest = tree_digest(dir), durable;
    const char *outcome = "well";
    walrec_status_t closed;
    int was_refused = 0;
    memset(&life, 0, sizeof life);
    closed = walrec_open(dir, &c, &life.log);
    if (closed != WALREC_OK) {
        stopped(&life, closed);
        refused(dir, &c, &life, digest);
        was_refused = 1;
    }
    life.last = walrec_last_event_id(life.log);
    CHECK_U64(*reported, life.last);
    go_on(&life);
    if (life.status == WALREC_E_FAILED) {
        outcome = "poisoned";
        poisoned(&life);
    } else if (life.status != WALREC_OK) {
        outcome = "nospace";
        /* The flusher waits for space, or the preparer. */
        if (life.status != WALREC_E_TIMEOUT)
            CHECK_STATUS(WALREC_E_NOSPACE, life.status);
        CHECK(is_hopeless());
    }
    durable = walrec_durable_event_id(life.log);
    closed = walrec_shutdown(life.log);
    if (closed != WALREC_OK) {
        char text[4096] = "";
        walrec_last_error(text, sizeof text);
        check_cause(text);
        if (life.status == WALREC_E_FAILED && life.text[0] != '\0')
            check_cause(life.text);
        if (strcmp(outcome, "well") == 0)
            outcome = "unclosed";
        stopped(&life, closed);
        CHECK(strcmp(outcome, "poisoned") != 0 || walrec_durable_event_id(life.log) == durable);
        CHECK(walrec_durable_event_id(life.log) >= durable);
        durable = walrec_durable_event_id(life.log);
    } else {
        CHECK(strcmp(outcome, "poisoned") != 0);
        CHECK_U64(life.last, walrec_durable_event_id(life.log));
    }
    CHECK_STATUS(WALREC_OK, walrec_close(life.log));
    if (was_refused)
        CHECK(strcmp(outcome, "well") == 0);
    else
        told(outcome, life.status, life.text);
    fault->disarmed = 1;
    if (alone)
        return;
    /* What was called durable is in the files, before any repair. */
    read_all(dir, durable, life.last);
    hold(dir, 0);
}

/* ---- what comes before --------------------------------------------------------- */

static void die_appending(void *dir)
{
    walrec_config_t c = config();
    struct life life;
    memset(&life, 0, sizeof life);
    if (is("torn"))
        c.flush_interval_us = 200;
    life.log = log_open(dir, &c);
    life.last = walrec_last_event_id(life.log);
    append_some(&life, 300);
    rotate(&life);
    append_some(&life, 700);
    if (is("torn")) {
        sync_all(&life);
        rotate(&life);
    }
    settle(&life, SLOTS - 1, is("torn") ? 2 : 1);
    /* Until the maintainer is done: it might wake the flusher, and no event would be in the stage alone. */
    while (exists(path("log/FS.00000000.wal")) || exists(path("log/FS.00000000.del")))
        pause_us(200);
    if (!is("torn")) {
        /* Just now: the flusher's interval has begun, and what follows stays in the stage. */
        sync_all(&life);
        append_some(&life, 50);
    }
    if (is("recover") || is("moved")) {
        rotate(&life);
        append_some(&life, 20);
    }
    if (is("lost") || is("torn"))
        *reported = walrec_durable_event_id(life.log);
    REQUIRE(life.status == WALREC_OK);
    raise(SIGKILL);
}

static void remove_entry(const char *dir, const char *name, void *unused)
{
    char full[8192];
    (void)unused;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    REQUIRE(unlink(full) == 0);
}

static void put_bytes(const char *name, const void *bytes, size_t n, off_t offset)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    REQUIRE(pwrite(fd, bytes, n, offset) == (ssize_t)n);
    close(fd);
}

/* The first segment frozen, and its `.wal` put back beside it; and one of each file that was on its way in or out. */
static void leave_everything(struct life *life, const char *dir, const walrec_config_t *c)
{
    static const char *leftovers[] = {"FS.00000090.new",  "FS.00000090.lz4.tmp", "FS.00000000.del",
                                      "wal_meta.dat.tmp", "walrec.id.tmp",       "walrec.stage.tmp"};
    static unsigned char segment[HEADER_BYTES + 16 * BLOCK_BYTES];
    const char *first = path("log/FS.00000000.wal");
    int fd = open(first, O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && read(fd, segment, sizeof segment) == (ssize_t)sizeof segment);
    close(fd);
    life->log = log_open(dir, c);
    append_some(life, 300);
    rotate(life);
    append_some(life, 10);
    REQUIRE_STATUS(WALREC_OK, walrec_close(life->log));
    REQUIRE(exists(path("log/FS.00000000.wal.lz4")) && !exists(first));
    put_bytes(first, segment, sizeof segment, 0);
    for (unsigned i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++)
        put_bytes(path("log/%s", leftovers[i]), "left", 4, 0);
}

/* The stage goes, and garbage stands behind the last event, or in a segment that has none. */
static void lose_stage(const char *dir)
{
    static const char garbage[600] = "garbage";
    /* Segment 2 begins with event 701. */
    uint64_t slot = *reported - 700, block = slot / EVENTS_PER_BLOCK, in_block = slot % EVENTS_PER_BLOCK;
    uint64_t end = HEADER_BYTES + block * BLOCK_BYTES + HEADER_BYTES + in_block * sizeof(walrec_event_t);
    char stage[8192];
    REQUIRE(stage_path(dir, stage, sizeof stage));
    for_each_entry(stage, remove_entry, NULL);
    REQUIRE(rmdir(stage) == 0);
    if (is("lost"))
        put_bytes(path("log/FS.00000002.wal"), garbage, sizeof garbage, (off_t)end);
    else
        put_bytes(path("log/FS.00000003.wal"), garbage, sizeof garbage, 300);
}

static void setup(const char *dir)
{
    walrec_config_t c = config();
    struct life life;
    memset(&life, 0, sizeof life);
    REQUIRE(mkdir(path("shm"), 0700) == 0);
    if (is("fresh"))
        return;
    life.log = log_open(dir, &c);
    append_some(&life, 300);
    sync_all(&life);
    rotate(&life);
    append_some(&life, 100);
    REQUIRE_STATUS(WALREC_OK, walrec_close(life.log));
    if (is("leftovers")) {
        leave_everything(&life, dir, &c);
    } else if (!is("resume")) {
        int status = wait_child(start_child(die_appending, (void *)(uintptr_t)dir));
        REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    REQUIRE(life.status == WALREC_OK);
    if (is("lost") || is("torn"))
        lose_stage(dir);
}

int main(int argc, char **argv)
{
    const char *given = getenv("WALREC_FAULT");
    static struct fault_words no_fault;
    static char dir[4096];
    int fd;
    if (argc != 4) {
        fprintf(stderr, "usage: fault_child setup|live|alone|check SCENARIO WORK\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    scenario = argv[2];
    argv[2] = argv[0];
    check_begin(2, argv + 2, 40);
    heard = heard_new();
    fault = fault_words();
    if (fault == NULL)
        fault = &no_fault;
    for_ever = given != NULL && (strstr(given, " ever ENOSPC") != NULL || strstr(given, " ever EDQUOT") != NULL ||
                                 strstr(given, " ever EAGAIN") != NULL || strstr(given, " ever EMFILE") != NULL);
    fd = open(path("control"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, 4096) == 0);
    reported = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(reported != MAP_FAILED);
    snprintf(dir, sizeof dir, "%s", path("log"));
    alone = strcmp(argv[1], "alone") == 0;
    before = strcmp(argv[1], "setup") == 0;
    if (before)
        setup(dir);
    else if (strcmp(argv[1], "live") == 0 || alone)
        live(dir);
    else
        hold(dir, 1);
    return check_end();
}
