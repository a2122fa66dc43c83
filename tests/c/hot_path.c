/*
 * The proof that an append makes no system call, no page fault and no allocation, also across rotations and while the
 * library's threads work behind it.
 *
 * WALREC_TEST_APPENDS events in all (default 10,000,000) are appended in bursts that fit the stage, by walrec_append,
 * by walrec_reserve and walrec_commit, and by walrec_append_batch in turn. After each burst another thread calls
 * walrec_sync. In each of two geometries:
 *
 *   system calls  The append thread installs a seccomp filter without a single permitted call: the first one ends the
 *                 process. It speaks to the other thread through memory alone. Control: one getppid does end it.
 *   page faults   getrusage(RUSAGE_THREAD) around each burst, after two rounds through the pool. Control: fresh
 *                 pages are counted.
 *   allocations   malloc and its family, mmap and munmap are defined here, take precedence over the C library's, and
 *                 count what a flagged thread does. Control: a malloc is counted, and one inside the library is.
 *
 * Each part runs in a child of its own. Needs -rdynamic.
 */
#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- allocations, counted ------------------------------------------------ */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *old);

static __thread int counting;
static __thread uint64_t allocations;

static void count_one(void)
{
    if (counting)
        allocations++;
}

void *malloc(size_t bytes)
{
    count_one();
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count_one();
    return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count_one();
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count_one();
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count_one();
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count_one();
    *out = __libc_memalign(alignment, bytes);
    return *out == NULL ? ENOMEM : 0;
}

void free(void *old)
{
    count_one();
    __libc_free(old);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    count_one();
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return mmap(at, bytes, protection, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    count_one();
    return (int)syscall(SYS_munmap, at, bytes);
}

int madvise(void *at, size_t bytes, int advice)
{
    count_one();
    return (int)syscall(SYS_madvise, at, bytes, advice);
}

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
    int64_t trapped_call; /* number of the system call that the filter stopped, -1 = none */
    uint64_t trapped_at;
    int armed;
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

/* Runs on the append thread, where every system call is stopped: one more of them ends the process at once. */
static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    figures->trapped_call = info->si_syscall;
    figures->trapped_at = (uint64_t)(uintptr_t)info->si_call_addr;
    syscall(SYS_getpid);
}

/* From here on the calling thread has no system call at all. */
static void forbid_system_calls(void)
{
    struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)};
    struct sock_fprog filter;
    filter.len = 1;
    filter.filter = program;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
        check_fail(__FILE__, __LINE__, "seccomp: %s", strerror(errno));
        check_give_up();
    }
    figures->armed = 1;
}

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
        if (kind != FAULTS_AND_ALLOCATIONS && !figures->armed && __atomic_load_n(&run->stop, __ATOMIC_ACQUIRE) == 2)
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
        if (kind == SYSTEM_CALLS_CONTROL && figures->armed)
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
    struct sigaction action;
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
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(sigaction(SIGSYS, &action, NULL) == 0);
    figures->trapped_call = -1;

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
        CHECK_U64(SYS_getppid, (uint64_t)figures->trapped_call);
        printf("%s: one getppid on the append thread ended the process, as it should\n", part->name);
        CHECK_CHILD(tidy_up, (void *)(uintptr_t)part->name);
    } else {
        if (figures->trapped_call >= 0)
            check_fail(__FILE__, __LINE__, "%s: system call %" PRId64 " on the append thread, at %#" PRIx64,
                       part->name, figures->trapped_call, figures->trapped_at);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(figures->appended >= part->appends);
        CHECK(figures->rotations + 1 >=
              figures->appended / ((part->num_blocks == 0 ? 512u : part->num_blocks) * (uint64_t)EVENTS_PER_BLOCK));
        CHECK_U64(0, figures->allocations);
        if (part->kind == SYSTEM_CALLS) {
            CHECK(figures->armed);
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
    /* Small segments cost the disk far more for each event: they get a tenth of it all. */
    parts[0].appends = parts[2].appends = appends / 100 * 45;
    parts[1].appends = parts[3].appends = appends / 100 * 5;
    for (i = 0; i < sizeof parts / sizeof parts[0]; i++)
        run_part(&parts[i]);
    return check_end();
}
