/* The thread rule, handing the append side over, and reading the positions while another thread appends. */
#include "check.h"

#define SEGMENT_EVENTS (16u * EVENTS_PER_BLOCK)

struct intruder {
    walrec_t *log;
    uint64_t next, accepted;
    walrec_status_t status;
};

/* Appends until it is told off. The rule is checked at each new block at the latest. */
static void *intrude(void *argument)
{
    struct intruder *in = argument;
    unsigned i;
    in->accepted = 0;
    for (i = 0; i <= EVENTS_PER_BLOCK; i++) {
        walrec_event_t event = event_of(in->next);
        in->status = walrec_append(in->log, &event);
        if (in->status != WALREC_OK)
            break;
        in->next++;
        in->accepted++;
    }
    return NULL;
}

static void *intrude_cold(void *argument)
{
    struct intruder *in = argument;
    CHECK_STATUS(WALREC_E_THREAD, walrec_rotate(in->log));
    CHECK_U64(in->next - 1, walrec_last_event_id(in->log));
    return NULL;
}

/* A refused call leaves the append thread's reservation alone. */
static void *intrude_between(void *argument)
{
    struct intruder *in = argument;
    walrec_event_t none = event_of(1);
    none.event_id = 0;
    CHECK_STATUS(WALREC_E_THREAD, walrec_abort(in->log));
    CHECK_MESSAGE("walrec_abort: ");
    CHECK_STATUS(WALREC_E_THREAD, walrec_append(in->log, &none));
    CHECK_STATUS(WALREC_E_INVALID, walrec_append(in->log, NULL));
    CHECK_STATUS(WALREC_E_THREAD, walrec_rotate(in->log));
    return NULL;
}

static void *take_over(void *argument)
{
    struct intruder *in = argument;
    CHECK_STATUS(WALREC_OK, walrec_attach_thread(in->log));
    append_range(in->log, in->next, in->next + 2 * SEGMENT_EVENTS);
    in->next += 2 * SEGMENT_EVENTS + 1;
    CHECK_STATUS(WALREC_OK, walrec_rotate(in->log));
    CHECK_STATUS(WALREC_OK, walrec_sync(in->log, 0, NO_LIMIT));
    return NULL;
}

static void the_rule(void)
{
    const char *dir = path("rule");
    walrec_config_t config = config_small();
    walrec_event_t *slot = NULL;
    struct intruder in;
    in.log = log_open(dir, &config);
    in.next = 1;
    CHECK_STATUS(WALREC_E_INVALID, walrec_attach_thread(NULL));

    append_range(in.log, 1, 300);
    in.next = 301;
    on_other_thread(intrude_cold, &in);
    on_other_thread(intrude, &in);
    CHECK_STATUS(WALREC_E_THREAD, in.status);
    CHECK(in.accepted <= EVENTS_PER_BLOCK);
    CHECK_U64(in.next - 1, walrec_last_event_id(in.log));

    /* The rightful thread goes on as if nothing had been. */
    append_range(in.log, in.next, in.next + 1000);
    in.next += 1001;

    /* Handed over; then the first one is the intruder. */
    on_other_thread(take_over, &in);
    CHECK_STATUS(WALREC_E_THREAD, walrec_rotate(in.log));
    intrude(&in);
    CHECK_STATUS(WALREC_E_THREAD, in.status);
    CHECK_U64(in.next - 1, walrec_last_event_id(in.log));
    CHECK_STATUS(WALREC_OK, walrec_attach_thread(in.log));
    append_range(in.log, in.next, in.next + 5000);
    in.next += 5001;
    CHECK_STATUS(WALREC_OK, walrec_reserve(in.log, &slot));
    event_fill(slot, in.next);
    on_other_thread(intrude_between, &in);
    CHECK_STATUS(WALREC_OK, walrec_commit(in.log));
    CHECK_U64(in.next, walrec_last_event_id(in.log));
    in.next++;
    /* Attaching oneself again changes nothing, but drops a reservation. */
    CHECK_STATUS(WALREC_OK, walrec_reserve(in.log, &slot));
    event_fill(slot, in.next);
    CHECK_STATUS(WALREC_OK, walrec_attach_thread(in.log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(in.log));
    CHECK_U64(in.next - 1, walrec_last_event_id(in.log));
    append_range(in.log, in.next, in.next);
    in.next++;
    CHECK_STATUS(WALREC_OK, walrec_close(in.log));
    log_holds(dir, 1, in.next - 1);
}

static void *open_it(void *out)
{
    walrec_config_t config = config_small();
    *(walrec_t **)out = log_open(path("first-call"), &config);
    return NULL;
}

static void *close_it(void *log)
{
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    return NULL;
}

/* Not the opening thread but the first one that appends is the append thread. */
static void first_call_binds(void)
{
    walrec_t *log = NULL;
    on_other_thread(open_it, &log);
    append_range(log, 1, 10000);
    CHECK_STATUS(WALREC_OK, walrec_rotate(log));
    on_other_thread(close_it, log);
    log_holds(path("first-call"), 1, 10000);
}

/* ---- positions polled while another thread appends ---------------------- */

struct poll {
    walrec_t *log;
    uint32_t first_segment;
    int stop;
    uint64_t rounds, seen_last, failures;
};

/* With dense ids and no early rotation, the position is a function of the id. */
static int position_is_right(const walrec_meta_state_t *s, uint32_t first_segment)
{
    uint64_t n = s->last_event_id;
    uint64_t full = HEADER_BYTES + 16 * (uint64_t)BLOCK_BYTES;
    uint64_t segment, in, offset;
    /* No segment yet, or one without events. */
    if (n == 0)
        return s->last_segment_index == first_segment && (s->last_offset == 0 || s->last_offset == HEADER_BYTES);
    segment = first_segment + (n - 1) / SEGMENT_EVENTS;
    in = (n - 1) % SEGMENT_EVENTS;
    offset = HEADER_BYTES + in / EVENTS_PER_BLOCK * BLOCK_BYTES + 64 + (in % EVENTS_PER_BLOCK + 1) * 64;
    if (s->last_segment_index == segment && s->last_offset == offset)
        return 1;
    /* Just rotated: the next segment, still empty. */
    return offset == full && s->last_segment_index == segment + 1 && s->last_offset == HEADER_BYTES;
}

static void *poll_positions(void *argument)
{
    struct poll *p = argument;
    uint64_t last = 0, durable = 0, meta_last = 0;
    while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
        walrec_meta_state_t state;
        uint64_t d = walrec_durable_event_id(p->log);
        uint64_t l = walrec_last_event_id(p->log);
        walrec_status_t status = walrec_meta_state(p->log, &state);
        if (d > l || d < durable || l < last || status != WALREC_OK || state.last_event_id < meta_last ||
            state.last_event_id < l || !position_is_right(&state, p->first_segment)) {
            if (p->failures++ < 5)
                printf("durable %" PRIu64 " (was %" PRIu64 "), last %" PRIu64 " (was %" PRIu64
                       "), meta state %u:%u id %" PRIu64 " (was %" PRIu64 "), status %d\n",
                       d, durable, l, last, (unsigned)state.last_segment_index,
                       (unsigned)state.last_offset, state.last_event_id, meta_last, (int)status);
        }
        durable = d;
        last = l;
        meta_last = state.last_event_id;
        p->rounds++;
    }
    p->seen_last = last;
    return NULL;
}

static void polled(void)
{
    const char *dir = path("polled");
    walrec_config_t config = config_small();
    const uint64_t events = 40 * SEGMENT_EVENTS + 77;
    walrec_meta_state_t state;
    struct poll polls[2];
    pthread_t threads[2];
    walrec_t *log;
    uint64_t id;
    unsigned i;

    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_E_INVALID, walrec_meta_state(NULL, &state));
    CHECK_STATUS(WALREC_E_INVALID, walrec_meta_state(log, NULL));
    memset(&state, 0xff, sizeof state);
    REQUIRE_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(0, state.last_event_id);
    CHECK(position_is_right(&state, state.last_segment_index));
    memset(polls, 0, sizeof polls);
    for (i = 0; i < 2; i++) {
        polls[i].log = log;
        polls[i].first_segment = state.last_segment_index;
        REQUIRE(pthread_create(&threads[i], NULL, poll_positions, &polls[i]) == 0);
    }
    for (id = 1; id <= events; id++) {
        append_range(log, id, id);
        if (id % 20000 == 0)
            CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    for (i = 0; i < 2; i++) {
        __atomic_store_n(&polls[i].stop, 1, __ATOMIC_RELEASE);
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK_U64(0, polls[i].failures);
        CHECK(polls[i].rounds > 0);
        printf("polled %" PRIu64 " times\n", polls[i].rounds);
    }
    REQUIRE_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(events, state.last_event_id);
    CHECK(position_is_right(&state, polls[0].first_segment));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, events);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    the_rule();
    first_call_binds();
    polled();
    return check_end();
}
