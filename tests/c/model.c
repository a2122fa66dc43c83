/*
 * Random sequences of all calls against a model of the contract: wrong ids, dropped reservations, rotations, syncs,
 * seeks, closes and kills in any order. Every status and the whole content are predicted.
 *
 * The seed is WALREC_SEED, printed; the same seed gives the same sequence.
 */
#include "check.h"

#define ROUNDS 12
#define CALLS 4000

struct model {
    uint64_t last;
    int reserved;
    walrec_event_t *slot;
};

static uint64_t state;

static uint64_t pick(uint64_t below)
{
    state = mix(state);
    return state % below;
}

/* An id, most often the right one, and what the contract says of it. */
static uint64_t pick_id(uint64_t last, walrec_status_t *expected)
{
    switch (pick(10)) {
    case 0:
        *expected = WALREC_E_INVALID;
        return 0;
    case 1:
        *expected = last == 0 ? WALREC_E_INVALID : WALREC_E_ORDER;
        return last == 0 ? 0 : 1 + pick(last);
    case 2:
        *expected = last == 0 ? WALREC_E_INVALID : WALREC_E_ORDER;
        return last;
    default:
        *expected = WALREC_OK;
        return last + 1;
    }
}

static void one_call(walrec_t *log, struct model *m)
{
    static walrec_event_t batch[600];
    walrec_status_t expected;
    walrec_event_t event, *slot;
    walrec_meta_state_t meta;
    uint64_t id;
    size_t done, n, good, i;

    switch (pick(12)) {
    case 0:
    case 1:
    case 2:
        id = pick_id(m->last, &expected);
        event = event_of(id);
        CHECK_STATUS(expected, walrec_append(log, &event));
        if (expected == WALREC_OK)
            m->last = id;
        m->reserved = 0;
        break;
    case 3:
    case 4:
        n = pick(600);
        good = pick(4) == 0 ? pick(n + 1) : n;
        for (i = 0; i < n; i++)
            batch[i] = event_of(m->last + 1 + i);
        expected = WALREC_OK;
        if (good < n) {
            batch[good].event_id = pick(2) == 0 ? 0 : m->last + good;
            expected = batch[good].event_id == 0 ? WALREC_E_INVALID : WALREC_E_ORDER;
        }
        done = 7777;
        CHECK_STATUS(expected, walrec_append_batch(log, batch, n, &done));
        CHECK_U64(good, done);
        m->last += good;
        /* A batch of none is no append, and may leave a reservation or drop it. */
        if (n > 0) {
            m->reserved = 0;
        } else if (m->reserved) {
            walrec_abort(log);
            m->reserved = 0;
        }
        break;
    case 5:
    case 6:
        slot = NULL;
        REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
        if (m->reserved)
            CHECK(slot == m->slot);
        m->reserved = 1;
        m->slot = slot;
        /* Something is there already when it is not committed. */
        event_fill(slot, m->last + 1 + pick(5));
        break;
    case 7:
        id = pick_id(m->last, &expected);
        if (m->reserved)
            event_fill(m->slot, id);
        CHECK_STATUS(m->reserved ? expected : WALREC_E_INVALID, walrec_commit(log));
        if (m->reserved && expected == WALREC_OK)
            m->last = id;
        m->reserved = 0;
        break;
    case 8:
        CHECK_STATUS(m->reserved ? WALREC_OK : WALREC_E_INVALID, walrec_abort(log));
        m->reserved = 0;
        break;
    case 9:
        if (pick(8) == 0) {
            CHECK_STATUS(WALREC_OK, walrec_rotate(log));
            m->reserved = 0;
        }
        break;
    case 10:
        if (pick(20) == 0) {
            CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
            CHECK_U64(m->last, walrec_durable_event_id(log));
        } else if (m->last > 0 && pick(10) == 0) {
            id = 1 + pick(m->last);
            CHECK_STATUS(WALREC_OK, walrec_sync(log, id, NO_LIMIT));
            CHECK(walrec_durable_event_id(log) >= id);
        }
        break;
    default:
        CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &meta));
        CHECK_U64(m->last, meta.last_event_id);
        CHECK(walrec_durable_event_id(log) <= m->last);
        break;
    }
    CHECK_U64(m->last, walrec_last_event_id(log));
}

struct round {
    uint64_t seed, last;
    int kill;
};

static void play(void *argument)
{
    struct round *r = argument;
    walrec_config_t config = config_small();
    struct model m;
    walrec_t *log;
    unsigned i;
    static const uint32_t blocks[] = {16, 17, 64};
    state = r->seed;
    config.num_blocks = blocks[pick(3)];
    config.stage_slots = 3 + (uint32_t)pick(4);
    config.flush_interval_us = pick(2) == 0 ? 0 : 5000;
    log = log_open(path("log"), &config);
    memset(&m, 0, sizeof m);
    m.last = r->last;
    CHECK_U64(m.last, walrec_last_event_id(log));
    CHECK_U64(m.last, walrec_durable_event_id(log));
    for (i = 0; i < CALLS; i++)
        one_call(log, &m);
    r->last = m.last;
    fflush(stdout);
    if (check_failed == 0 && r->kill)
        raise(SIGKILL);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

int main(int argc, char **argv)
{
    const char *given = getenv("WALREC_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 20240229;
    struct round *r;
    unsigned i;

    check_begin(argc, argv, 60);
    r = shared_memory(sizeof *r);
    for (i = 0; i < ROUNDS; i++) {
        int status;
        r->seed = mix(seed + i);
        r->kill = i % 2;
        status = wait_child(start_child(play, r));
        if (r->kill)
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        else
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    {
        walrec_config_t config = config_small();
        walrec_t *log = log_open(path("log"), &config);
        CHECK_U64(r->last, walrec_last_event_id(log));
        log_holds(path("log"), 1, r->last);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    }
    log_holds(path("log"), 1, r->last);
    printf("FIGURE model: seed %" PRIu64 ", %u calls, %" PRIu64 " events, %u kills\n", seed, ROUNDS * CALLS,
           r->last, ROUNDS / 2);
    return check_end();
}
