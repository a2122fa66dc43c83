/*
 * The proof that an append makes no system call, no page fault and no allocation, also across rotations and while the
 * library's threads work behind it.
 *
 * WALREC_TEST_APPENDS events in all (default 10,000,000) are appended in bursts that fit the stage, by walrec_append,
 * by walrec_reserve and walrec_commit, and by walrec_append_batch in turn. After each burst another thread calls
 * walrec_sync. In each of two geometries:
 *
 *   system calls  The append thread installs a seccomp filter without a single permitted call: the first one ends the
 *                 process. Control: one getppid does end it.
 *   page faults   getrusage(RUSAGE_THREAD) around each burst, after two rounds through the pool. Control: fresh
 *                 pages are counted.
 *   allocations   What the thread allocates, maps or unmaps is counted. Control: a malloc is counted, and one inside the
 *                 library is.
 *
 * Each part runs in a child of its own. Filter and counters are those of append_thread.h.
 */
#include "append_thread.h"

#include <sys/resource.h>

/* ---- a part -------------------------------------------------------------- */

enum kind { SYSTEM_CALLS, SYSTEM_CALLS_CONTROL, FAULTS_AND_ALLOCATIONS };

struct part {
    const char *name;
    enum kind kind;
    uint32_t num_blocks; /* 0 = default */
    uint64_t appends;    /* at least, in the measured bursts */
};

/* Shared with the parent, which prints it after the child's end. */
struct figures {
    uint64_t appended, bursts, rotations, nanoseconds;
    uint64_t faults, allocations, fault_control, allocation_control, library_allocation_control;
};
static struct figures *figures;

struct run {
    walrec_t *log;
    const struct part *part;
    const char *dir;
    uint64_t burst_events, next_id;
    /* The main thread raises `go`, the append thread answers in `done`: by memory alone. */
    unsigned go, done, ready, stop;
    walrec_status_t status;
};

#define BATCH 64

/* Appends `n` events in one of the three ways; stops at the first refusal. */
static walrec_status_t burst(struct run *run, uint64_t n, unsigned way)
{
    static __thread walrec_event_t batch[BATCH];
    uint64_t id = run->next_id, end = run->next_id + n;
    walrec_status_t status = WALREC_OK;
    walrec_event_t event, *slot;
    size_t done, i;
    switch (way % 3) {
    case 0:
        for (; id < end && status == WALREC_OK; id++) {
            event_fill(&event, id);
            status = walrec_append(run->log, &event);
        }
        break;
    case 1:
        for (; id < end && status == WALREC_OK; id++) {
            status = walrec_reserve(run->log, &slot);
            if (status == WALREC_OK) {
                event_fill(slot, id);
                status = walrec_commit(run->log);
            }
        }
        break;
    default:
        while (id < end && status == WALREC_OK) {
            size_t count = end - id < BATCH ? (size_t)(end - id) : BATCH;
            for (i = 0; i < count; i++)
                event_fill(&batch[i], id + i);
            status = walrec_append_batch(run->log, batch, count, &done);
            id += done;
        }
        break;
    }
    run->next_id = id;
    return status;
}

static uint64_t faults_of_this_thread(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return 0;
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

static void controls(struct run *run)
{
    enum { PAGES = 64 };
    uint64_t before;
    volatile char *fresh;
    void *volatile memory;
    walrec_reader_t *reader = NULL;
    int i;
    fresh = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    before = faults_of_this_thread();
    for (i = 0; i < PAGES; i++)
        fresh[i * 4096] = 1;
    figures->fault_control = faults_of_this_thread() - before;

    allocations = 0;
    counting = 1;
    memory = malloc(100);
    free(memory);
    counting = 0;
    figures->allocation_control = allocations;

    allocations = 0;
    counting = 1;
    walrec_reader_open(run->dir, 0, 0, &reader);
    walrec_reader_close(reader);
    counting = 0;
    figures->library_allocation_control = allocations;
}

static void *append_thread(void *argument)
{
    struct run *run = argument;
    enum kind kind = run->part->kind;
    unsigned seen = 0, way = 0;
    uint64_t faults = faults_of_this_thread();

    run->status = walrec_attach_thread(run->log);
    __atomic_store_n(&run->ready, 1, __ATOMIC_RELEASE);
    for (;;) {
        unsigned go;
        uint64_t begin;
        while ((go = __atomic_load_n(&run->go, __ATOMIC_ACQUIRE)) == seen) {
            if (__atomic_load_n(&run->stop, __ATOMIC_ACQUIRE) && kind == FAULTS_AND_ALLOCATIONS) {
                controls(run);
                return NULL;
            }
            relax();
        }
        seen = go;
        /* The filter comes after the warm-up: it is armed when the main thread says so with `stop` = 2. */
        if (kind != FAULTS_AND_ALLOCATIONS && !caught->armed && __atomic_load_n(&run->stop, __ATOMIC_ACQUIRE) == 2)
            forbid_system_calls();

        allocations = 0;
        begin = kind == FAULTS_AND_ALLOCATIONS ? now_ns() : 0;
        faults = kind == FAULTS_AND_ALLOCATIONS ? faults_of_this_thread() : 0;
        counting = 1;
        if (run->status == WALREC_OK)
            run->status = burst(run, run->burst_events, way++);
        counting = 0;
        if (kind == FAULTS_AND_ALLOCATIONS) {
            figures->faults += faults_of_this_thread() - faults;
            figures->nanoseconds += now_ns() - begin;
        }
        figures->allocations += allocations;
        if (kind == SYSTEM_CALLS_CONTROL && caught->armed)
            syscall(SYS_getppid);
        __atomic_store_n(&run->done, seen, __ATOMIC_RELEASE);
    }
}

static void one_burst(struct run *run)
{
    uint64_t begin = now_ns();
    unsigned go = run->go + 1;
    __atomic_store_n(&run->go, go, __ATOMIC_RELEASE);
    while (__atomic_load_n(&run->done, __ATOMIC_ACQUIRE) != go) {
        REQUIRE(now_ns() - begin < 100 * SECOND_NS);
        pause_us(200);
    }
    REQUIRE_STATUS(WALREC_OK, run->status);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(run->log, 0, 100 * SECOND_NS));
}

static void play(void *argument)
{
    const struct part *part = argument;
    walrec_config_t config = config_default();
    walrec_open_report_t report;
    walrec_meta_state_t state;
    struct run run;
    pthread_t thread;
    uint32_t segment, slots = 6;
    uint64_t segment_events, warm_up;

    config.num_blocks = part->num_blocks;
    /* With small segments every third append is sampled: telemetry must not show either. */
    config.append_sample = part->num_blocks == 0 ? 0 : 3;
    config.stage_slots = slots;
    /* Few are kept: whatever retention has to do runs beside the appends all the time. */
    config.max_segments = 6;
    config.max_compressed_segments = 4;
    config.wait_limit_us = 60000000;

    memset(&run, 0, sizeof run);
    catch_system_calls();

    run.part = part;
    run.dir = path("%s", part->name);
    run.log = log_open(run.dir, &config);
    run.next_id = 1;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(run.log, &report));
    if ((report.flags & WALREC_OPEN_STAGE_ON_DISK) != 0)
        check_fail(__FILE__, __LINE__, "the stage is not in shared memory, nothing can be proved here");
    if ((report.flags & WALREC_OPEN_NOT_LOCKED_IN_MEMORY) != 0)
        printf("note: the stage is not locked in memory (RLIMIT_MEMLOCK)\n");

    segment_events = (uint64_t)(part->num_blocks == 0 ? 512 : part->num_blocks) * EVENTS_PER_BLOCK;
    run.burst_events = (slots - 2) * segment_events;
    REQUIRE(pthread_create(&thread, NULL, append_thread, &run) == 0);
    while (!__atomic_load_n(&run.ready, __ATOMIC_ACQUIRE))
        pause_us(100);

    for (warm_up = 0; warm_up < 2 * slots * segment_events; warm_up += run.burst_events)
        one_burst(&run);
    figures->faults = figures->allocations = figures->nanoseconds = 0;
    figures->appended = 0;
    if (part->kind != FAULTS_AND_ALLOCATIONS)
        __atomic_store_n(&run.stop, 2, __ATOMIC_RELEASE);
    REQUIRE_STATUS(WALREC_OK, walrec_meta_state(run.log, &state));
    segment = state.last_segment_index;
    while (figures->appended < part->appends) {
        one_burst(&run);
        figures->appended += run.burst_events;
        figures->bursts++;
    }
    REQUIRE_STATUS(WALREC_OK, walrec_meta_state(run.log, &state));
    CHECK_U64(run.next_id - 1, state.last_event_id);
    figures->rotations = state.last_segment_index - segment;
    if (part->kind == FAULTS_AND_ALLOCATIONS) {
        __atomic_store_n(&run.stop, 1, __ATOMIC_RELEASE);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    /* The filtered thread cannot even end: it spins until the process does. */
    CHECK_STATUS(WALREC_OK, walrec_close(run.log));
}

/* The log whose recorder was killed: opened and closed, so that its stage does not stay in shared memory. */
static void tidy_up(void *argument)
{
    walrec_config_t config = config_small();
    CHECK_STATUS(WALREC_OK, walrec_close(log_open(path("%s", (const char *)argument), &config)));
}

static void remove_entry(const char *dir, const char *name, void *user)
{
    char full[8192];
    (void)user;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    unlink(full);
}

static void run_part(const struct part *part)
{
    int status;
    memset(figures, 0, sizeof *figures);
    status = wait_child(start_child(play, (void *)(uintptr_t)part));
    if (part->kind == SYSTEM_CALLS_CONTROL) {
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        CHECK_U64(SYS_getppid, (uint64_t)caught->call);
        printf("%s: one getppid on the append thread ended the process, as it should\n", part->name);
        CHECK_CHILD(tidy_up, (void *)(uintptr_t)part->name);
    } else {
        check_no_system_call(part->name);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(figures->appended >= part->appends);
        CHECK(figures->rotations + 1 >=
              figures->appended / ((part->num_blocks == 0 ? 512u : part->num_blocks) * (uint64_t)EVENTS_PER_BLOCK));
        CHECK_U64(0, figures->allocations);
        if (part->kind == SYSTEM_CALLS) {
            CHECK(caught->armed);
            printf("FIGURE hot path: %s: %" PRIu64 " appends, %" PRIu64 " rotations, 0 system calls\n", part->name,
                   figures->appended, figures->rotations);
        } else {
            CHECK_U64(0, figures->faults);
            CHECK(figures->fault_control >= 64);
            CHECK(figures->allocation_control == 2);
            CHECK(figures->library_allocation_control > 0);
            printf("FIGURE hot path: %s: %" PRIu64 " appends, %" PRIu64 " rotations, %" PRIu64 " page faults, %" PRIu64
                   " allocations (%.1f ns each, event built and waiting for the disk included); controls: %" PRIu64
                   " faults of 64 fresh pages, %" PRIu64 " of 2 allocations, %" PRIu64 " inside the library\n",
                   part->name, figures->appended, figures->rotations, figures->faults, figures->allocations,
                   (double)figures->nanoseconds / (double)(figures->appended ? figures->appended : 1),
                   figures->fault_control, figures->allocation_control, figures->library_allocation_control);
        }
    }
    for_each_entry(path("%s", part->name), remove_entry, NULL);
}

int main(int argc, char **argv)
{
    struct part parts[] = {
        {"system-calls-512-blocks", SYSTEM_CALLS, 0, 0},
        {"system-calls-16-blocks", SYSTEM_CALLS, 16, 0},
        {"faults-allocations-512-blocks", FAULTS_AND_ALLOCATIONS, 0, 0},
        {"faults-allocations-16-blocks", FAULTS_AND_ALLOCATIONS, 16, 0},
        {"system-calls-control", SYSTEM_CALLS_CONTROL, 16, 1},
    };
    const char *given = getenv("WALREC_TEST_APPENDS");
    uint64_t appends = given != NULL ? strtoull(given, NULL, 0) : 10000000;
    unsigned i;

    check_begin(argc, argv, 240);
    figures = shared_memory(sizeof *figures);
    caught = shared_memory(sizeof *caught);
    /* Small segments cost the disk far more for each event: they get a tenth of it all. */
    parts[0].appends = parts[2].appends = appends / 100 * 45;
    parts[1].appends = parts[3].appends = appends / 100 * 5;
    for (i = 0; i < sizeof parts / sizeof parts[0]; i++)
        run_part(&parts[i]);
    return check_end();
}
