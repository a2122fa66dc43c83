/*
 * A log stays within its limits, and keeping it there leaves no trace on the append thread.
 *
 * WALREC_TEST_EVENTS events in all (default 2,000,000) go through segments of 64 blocks, with 8 kept hot and 16 cold, in
 * WALREC_TEST_ROUNDS sessions of one log (default 2). The append thread appends at full speed, on a CPU that the rest of
 * the test keeps off. Each session has a twin, in a log of its own, with WALREC_FLAG_NO_COMPRESS: the same flow without
 * freezing. After each session:
 *
 *   limits        This process, not the recorder's, listed the directory each 10 ms, from before the open to after the close:
 *                 never more than 8 + stage_slots `.wal` and 16 + 1 `.wal.lz4`, and no gap. Controls: made-up
 *                 directories, and sessions that keep all.
 *   what is left  is read back: gapless, every event right. `lz4 -t` accepts each `.wal.lz4`. Control: it refuses a damaged one.
 *   append thread No system call, no page fault, no allocation, as in append_thread.h; no shootdown of its pages, and no call
 *                 of the process that could cause one, as in interrupts.h. Controls: fresh pages are counted, and so are
 *                 shootdowns by a munmap on another thread. The row TLB of /proc/interrupts is printed with both rates.
 *
 * A process of its own records each session. Needs -rdynamic and -fno-builtin.
 */
#include "bounded_session.h"
#include "lz4_tool.h"

/* Most calls by which a session may ask for memory: its threads' heaps and the freezer's buffers. */
enum { BUFFERS = 12 };

/* ---- the limits ------------------------------------------------------------- */

static const struct limits promised = {HOT + SLOTS, COLD + 1};

static void judging_control(void)
{
    CHECK_U64(0, judge_made_up(0, 0, 0, promised).over);
    CHECK_U64(0, judge_made_up(COLD + 1, HOT + SLOTS, 0, promised).over);
    CHECK_U64(1, judge_made_up(COLD + 1, HOT + SLOTS + 1, 0, promised).over);
    CHECK_U64(1, judge_made_up(COLD + 2, HOT + SLOTS, 0, promised).over);
    CHECK_U64(0, judge_made_up(COLD, HOT, 0, promised).gaps);
    CHECK_U64(1, judge_made_up(COLD, HOT, 1, promised).gaps);
}

/* ---- a session: the process that looks on -------------------------------------- */

/* Counters at one moment; -1 = cannot be read here. */
struct reading {
    int64_t row, shootdowns;
    uint64_t faults, taking, giving;
};

struct outcome {
    struct seen seen;
    struct segment_scan left;
    int64_t row, shootdowns, row_control, shootdown_control;
    uint64_t nanoseconds, faults, taking, giving;
    unsigned disturbed;
};

static struct reading read_counters(pid_t process, int counter)
{
    struct reading reading;
    reading.row = append_cpu < 0 ? -1 : tlb_interrupts(append_cpu);
    reading.shootdowns = shootdowns(counter);
    reading.faults = faults_of(process, shared->append_thread);
    reading.taking = __atomic_load_n(&shared->calls.taking, __ATOMIC_RELAXED);
    reading.giving = __atomic_load_n(&shared->calls.giving, __ATOMIC_RELAXED);
    return reading;
}

static int64_t since(int64_t before, int64_t after)
{
    return before < 0 || after < 0 ? -1 : after - before;
}

/* Answers the recorder, if it waits for a word. */
static void answer(struct outcome *outcome, pid_t process, int *counter, struct reading *last)
{
    struct reading now;
    switch (phase_now()) {
    case READY:
        *counter = count_shootdowns(shared->append_thread);
        *last = read_counters(process, *counter);
        enter(DISTURB);
        break;
    case DISTURBED:
        now = read_counters(process, *counter);
        outcome->row_control = since(last->row, now.row);
        outcome->shootdown_control = since(last->shootdowns, now.shootdowns);
        if (shared->calls.watched)
            CHECK(now.taking - last->taking >= DISTURBANCES && now.giving - last->giving >= DISTURBANCES);
        /* Another process may have had the CPU. */
        if (outcome->shootdown_control == 0 && outcome->disturbed++ < 100) {
            enter(DISTURB);
            break;
        }
        *last = now;
        enter(GO);
        break;
    case APPENDED:
        now = read_counters(process, *counter);
        outcome->row = since(last->row, now.row);
        outcome->shootdowns = since(last->shootdowns, now.shootdowns);
        outcome->faults = now.faults - last->faults;
        outcome->taking = now.taking - last->taking;
        outcome->giving = now.giving - last->giving;
        enter(CLOSE);
        break;
    default:
        break;
    }
}

static struct outcome run(struct session *session)
{
    struct outcome outcome;
    struct reading last;
    struct timespec next;
    int counter = -1, status = 0;
    pid_t process;

    memset(&outcome, 0, sizeof outcome);
    memset(&last, 0, sizeof last);
    memset(shared, 0, sizeof *shared);
    process = start_child(start_recorder, session);
    clock_gettime(CLOCK_MONOTONIC, &next);
    do {
        sample(&outcome.seen, session->dir, session->limits);
        answer(&outcome, process, &counter, &last);
        next.tv_nsec += (long)SAMPLE_NS;
        if (next.tv_nsec >= (long)SECOND_NS) {
            next.tv_nsec -= (long)SECOND_NS;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    } while (waitpid(process, &status, WNOHANG) == 0);
    if (counter >= 0)
        close(counter);
    sample(&outcome.seen, session->dir, session->limits);
    check_no_system_call(session->name);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(caught->armed);
    CHECK_U64(CLOSE, phase_now());
    CHECK_U64(0, outcome.seen.gaps);
    outcome.left = scan_segments(session->dir);
    outcome.nanoseconds = shared->nanoseconds;
    return outcome;
}

/* ---- what is left ---------------------------------------------------------------- */

static void check_left(const struct session *session, const struct outcome *outcome)
{
    struct lz4_files files;
    /* Every segment is full, over all sessions. */
    log_holds(session->dir, outcome->left.lowest * SEGMENT_EVENTS + 1, session->last);
    if (lz4_test("/dev/null") == NO_TOOL) {
        printf("SKIP bounded: the frozen files were NOT tested with lz4 -t: there is no lz4 (Debian package lz4)\n");
        return;
    }
    memset(&files, 0, sizeof files);
    for_each_entry(session->dir, test_frozen, &files);
    CHECK_U64(outcome->left.frozen, files.tested);
    if (files.tested > 0)
        lz4_control(files.one);
}

/* ---- all of it ------------------------------------------------------------------- */

/* A session that keeps all, hot or cold, is found to break the limits, by the same looking on. */
static void keep_all_control(const char *name, int hot)
{
    struct session session = session_of(name, 0);
    struct outcome outcome;
    *(hot ? &session.max_segments : &session.max_compressed_segments) = WALREC_KEEP_ALL;
    session.limits = promised;
    session.last = (hot ? HOT + SLOTS + 10 : HOT + SLOTS + COLD + 10) * SEGMENT_EVENTS;
    outcome = run(&session);
    CHECK(outcome.seen.over > 0);
    CHECK((hot ? outcome.seen.most_hot : outcome.seen.most_cold) > (hot ? promised.hot : promised.cold));
    printf("FIGURE bounded, control %s: at most %" PRIu64 " hot and %" PRIu64 " cold, %" PRIu64 " of %" PRIu64
           " listings over the limits\n", name, outcome.seen.most_hot, outcome.seen.most_cold, outcome.seen.over,
           outcome.seen.samples);
    for_each_entry(session.dir, remove_entry, NULL);
}

/* Over all sessions of one kind. */
struct total {
    struct seen seen;
    int64_t row, shootdowns;
    uint64_t events, nanoseconds, faults, allocations, taking, giving;
};

static void add(struct total *total, const struct session *session, const struct outcome *outcome)
{
    uint64_t events = session->last - session->first + 1 - WARM_UP;
    const struct seen *seen = &outcome->seen;
    CHECK_U64(0, outcome->faults);
    CHECK_U64(0, shared->allocations);
    CHECK(shared->fault_control >= 64);
    if (outcome->shootdown_control >= 0)
        CHECK(outcome->shootdown_control > 0);
    total->row = outcome->row < 0 ? -1 : total->row + outcome->row;
    total->shootdowns = outcome->shootdowns < 0 ? -1 : total->shootdowns + outcome->shootdowns;
    total->events += events;
    total->nanoseconds += outcome->nanoseconds;
    total->faults += outcome->faults;
    total->allocations += shared->allocations;
    total->taking += outcome->taking;
    total->giving += outcome->giving;
    total->seen.samples += seen->samples;
    total->seen.over += seen->over;
    if (seen->most_hot > total->seen.most_hot)
        total->seen.most_hot = seen->most_hot;
    if (seen->most_cold > total->seen.most_cold)
        total->seen.most_cold = seen->most_cold;
    if (seen->longest_pause_ns > total->seen.longest_pause_ns)
        total->seen.longest_pause_ns = seen->longest_pause_ns;
    printf("%s: %" PRIu64 " events, %.0f a second; %" PRId64 " TLB interrupts of CPU %d (control: %" PRId64 "), %" PRId64
           " shootdowns of the append thread (control: %" PRId64 "), %" PRIu64 " calls that take memory away, %" PRIu64
           " that give some\n", session->name, events, (double)events * 1e9 / (double)outcome->nanoseconds, outcome->row,
           append_cpu, outcome->row_control, outcome->shootdowns, outcome->shootdown_control, outcome->taking,
           outcome->giving);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *given = getenv(variable);
    return given != NULL ? strtoull(given, NULL, 0) : otherwise;
}

static void pick_append_cpu(void)
{
    cpu_set_t cpus;
    int cpu;
    append_cpu = -1;
    REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    for (cpu = 0; CPU_COUNT(&cpus) > 1 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &cpus))
            append_cpu = cpu;
    run_on(0);
}

static double per_second(double count, const struct total *total)
{
    return count * 1e9 / (double)total->nanoseconds;
}

static void print_interrupts(const char *of, const struct total *total)
{
    printf("FIGURE bounded, %s: %" PRIu64 " events, %.0f a second; %" PRId64 " TLB interrupts of the append thread's CPU, other "
           "processes' among them (%.1f a second); %" PRId64 " shootdowns of the append thread; %" PRIu64
           " calls that take memory away, %" PRIu64 " that give some\n", of, total->events, per_second((double)total->events, total),
           total->row, per_second((double)total->row, total), total->shootdowns, total->taking, total->giving);
}

static void print_figures(const struct total *freezing, const struct total *plain, struct segment_scan left)
{
    printf("FIGURE bounded: at most %" PRIu64 " hot (limit %" PRIu64 ") and %" PRIu64 " cold (limit %" PRIu64 ") in %" PRIu64
           " listings, the longest pause between two %.1f ms; %" PRIu64 " segments frozen, %" PRIu64 " deleted\n",
           freezing->seen.most_hot, promised.hot, freezing->seen.most_cold, promised.cold, freezing->seen.samples,
           (double)freezing->seen.longest_pause_ns / 1e6, left.lowest + left.frozen, left.lowest);
    printf("FIGURE bounded: %" PRIu64 " appends with 0 system calls, %" PRIu64 " page faults, %" PRIu64
           " allocations; the rate is %.2f of that with freezing off\n", freezing->events, freezing->faults,
           freezing->allocations,
           per_second((double)freezing->events, freezing) / per_second((double)plain->events, plain));
    print_interrupts("freezing", freezing);
    print_interrupts("freezing off", plain);
    if (append_cpu < 0)
        printf("SKIP bounded: interrupts were NOT read: there is one CPU, and nothing to interrupt it from\n");
    else if (freezing->row < 0)
        printf("SKIP bounded: interrupts were NOT read: no row TLB for CPU %d in /proc/interrupts\n", append_cpu);
    if (freezing->shootdowns < 0)
        printf("SKIP bounded: shootdowns of the append thread were NOT counted: the tracepoint tlb:tlb_flush needs root\n");
    if (!shared->calls.watched)
        printf("SKIP bounded: calls that take memory away were NOT counted: seccomp gives no listener here\n");
}

int main(int argc, char **argv)
{
    uint64_t events = number_from("WALREC_TEST_EVENTS", 2000000), rounds = number_from("WALREC_TEST_ROUNDS", 2);
    struct session sessions[2];
    struct total totals[2];
    struct outcome outcome;
    struct segment_scan left = {0, 0, 0, 0};
    uint64_t round;
    unsigned i;

    check_begin(argc, argv, 240 + (unsigned)(events / 25000));
    if (argc == 10) {
        struct session session = session_of(argv[2], (uint32_t)strtoul(argv[5], NULL, 10));
        append_cpu = atoi(argv[4]);
        session.max_segments = (uint32_t)strtoul(argv[6], NULL, 10);
        session.max_compressed_segments = (uint32_t)strtoul(argv[7], NULL, 10);
        session.first = strtoull(argv[8], NULL, 10);
        session.last = strtoull(argv[9], NULL, 10);
        map_shared(atoi(argv[3]));
        record(&session);
    }
    map_shared((int)syscall(SYS_memfd_create, "bounded", 0));
    pick_append_cpu();
    judging_control();
    keep_all_control("keeps-all-hot", 1);
    keep_all_control("keeps-all-cold", 0);

    memset(totals, 0, sizeof totals);
    sessions[0] = session_of("freezing", 0);
    sessions[1] = session_of("not-freezing", WALREC_FLAG_NO_COMPRESS);
    sessions[0].limits = promised;
    for (round = 0; round < rounds; round++)
        for (i = 0; i < 2; i++) {
            /* In turns, each first as often as the other. */
            unsigned which = (unsigned)((round + i) % 2);
            struct session *session = &sessions[which];
            session->first = round * (events / rounds) + 1;
            session->last = (round + 1) * (events / rounds);
            outcome = run(session);
            add(&totals[which], session, &outcome);
            if (which == 0) {
                CHECK_U64(0, outcome.seen.over);
                CHECK(outcome.seen.most_hot >= HOT && outcome.seen.most_cold >= COLD);
                CHECK(outcome.left.lowest > left.lowest);
                left = outcome.left;
                check_left(session, &outcome);
            }
        }
    CHECK_U64(0, totals[0].taking);
    /* Buffers are made once; a heap that grows with the segments asks for more and more. */
    for (i = 0; i < 2; i++)
        CHECK(totals[i].giving <= rounds * BUFFERS);
    /* A cause in freezing would show with each segment; a page that is copied at the first store to it shows once a process. */
    CHECK(totals[0].shootdowns * 10 <= (int64_t)(left.lowest + left.frozen));
    print_figures(&totals[0], &totals[1], left);
    for (i = 0; i < 2; i++)
        for_each_entry(sessions[i].dir, remove_entry, NULL);
    return check_end();
}
