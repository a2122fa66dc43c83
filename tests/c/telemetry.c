/* walrec_telemetry and walrec_reader_telemetry, with their texts: sizes, what moves, refusals. */
#include "check.h"

static walrec_telemetry_t telemetry_of(const walrec_t *log)
{
    walrec_telemetry_t now;
    unsigned i;
    memset(&now, 0xff, sizeof now);
    now.struct_size = sizeof now;
    REQUIRE_STATUS(WALREC_OK, walrec_telemetry(log, &now));
    CHECK_U64(sizeof now, now.struct_size);
    CHECK_U64(0, now.flags);
    for (i = 0; i < sizeof now.reserved / sizeof now.reserved[0]; i++)
        CHECK_U64(0, now.reserved[i]);
    return now;
}

static void struct_size(walrec_t *log)
{
    union {
        walrec_telemetry_t telemetry;
        unsigned char bytes[4096 + 64];
    } u;
    static const uint32_t bad[] = {0, 1, 7, 9, 15, 2049};
    uint32_t size;
    size_t i;
    walrec_telemetry_t whole = telemetry_of(log);
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry(NULL, &whole));
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry(log, NULL));
    /* No more than the caller has room for; what this library does not know becomes 0. */
    for (size = 8; size <= 4096; size += 56) {
        memset(&u, 0xa5, sizeof u);
        u.telemetry.struct_size = size;
        CHECK_STATUS(WALREC_OK, walrec_telemetry(log, &u.telemetry));
        CHECK_U64(size, u.telemetry.struct_size);
        for (i = sizeof(walrec_telemetry_t); i < size; i++)
            CHECK(u.bytes[i] == 0);
        for (i = size; i < sizeof u; i++)
            CHECK(u.bytes[i] == 0xa5);
    }
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(&u, 0xa5, sizeof u);
        u.telemetry.struct_size = bad[i];
        CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry(log, &u.telemetry));
        CHECK(u.bytes[4] == 0xa5 && u.bytes[200] == 0xa5);
    }
    u.telemetry.struct_size = 4104;
    CHECK_STATUS(WALREC_E_ABI, walrec_telemetry(log, &u.telemetry));
}

static int ordered(const walrec_times_t *t)
{
    return t->p50_ns <= t->p90_ns && t->p90_ns <= t->p99_ns && t->p99_ns <= t->p999_ns && t->p999_ns <= t->p9999_ns &&
           t->p9999_ns <= t->max_ns && t->max_ns <= t->sum_ns && (t->count > 0) == (t->max_ns > 0);
}

static void numbers(void)
{
    const char *dir = path("numbers");
    walrec_config_t config = config_small();
    walrec_telemetry_t now;
    walrec_t *log;
    config.append_sample = 16;
    log = log_open(dir, &config);
    now = telemetry_of(log);
    CHECK_U64(0, now.events_appended);
    CHECK_U64(0, now.append.count);
    CHECK_U64(0, now.rotation.count);
    CHECK_U64(0, now.last_event_id);
    append_range(log, 1001, 31000);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    now = telemetry_of(log);
    CHECK_U64(30000, now.events_appended);
    CHECK_U64(30000, now.events_durable);
    CHECK_U64(31000, now.last_event_id);
    CHECK_U64(31000, now.durable_event_id);
    CHECK(now.bytes_written >= 30000 * 64);
    CHECK(now.append.count > 30000 / 16 * 8 / 10 && now.append.count < 30000 / 16 * 12 / 10);
    CHECK_U64(8, now.rotation.count);
    CHECK_U64(8, now.segments_activated);
    CHECK(now.durable_lag.count > 0 && now.sync.count > 0 && now.write.count >= now.sync.count);
    CHECK(now.finalize.count >= 30000 / 256);
    CHECK(ordered(&now.append) && ordered(&now.sync) && ordered(&now.durable_lag) && ordered(&now.rotation));
    CHECK(now.append.p50_ns < 100000 && now.sync.p50_ns < 10 * SECOND_NS);
    CHECK_U64(0, now.poisoned);
    CHECK_U64(0, now.worker_errors);
    CHECK(now.free_bytes > 0);
    struct_size(log);
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    now = telemetry_of(log);
    CHECK_U64(8, now.segments_sealed);
    CHECK_U64(8, now.seal.count);
    CHECK(now.meta_flush.count > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));

    /* No sampling: nothing of the append thread is timed but its rotations. */
    config.append_sample = UINT32_MAX;
    log = log_open(dir, &config);
    append_range(log, 31001, 45000);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    now = telemetry_of(log);
    CHECK_U64(14000, now.events_appended);
    CHECK_U64(0, now.append.count);
    CHECK_U64(0, now.durable_lag.count);
    CHECK(now.rotation.count > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static void texts(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("texts"), &config);
    int32_t format;
    static char whole[1 << 20], part[1 << 20];
    size_t needed = 1, again, n, i;
    append_range(log, 1, 5000);
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry_text(NULL, WALREC_TEXT_HUMAN, whole, sizeof whole, &needed));
    CHECK_U64(0, needed);
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry_text(log, WALREC_TEXT_HUMAN, NULL, 1, &needed));
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry_text(log, 2, whole, sizeof whole, &needed));
    CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry_text(log, -1, whole, sizeof whole, NULL));
    for (format = WALREC_TEXT_HUMAN; format <= WALREC_TEXT_PROMETHEUS; format++) {
        CHECK_STATUS(WALREC_OK, walrec_telemetry_text(log, format, NULL, 0, &needed));
        CHECK(needed > 1000 && needed < sizeof whole);
        CHECK_STATUS(WALREC_OK, walrec_telemetry_text(log, format, whole, sizeof whole, NULL));
        CHECK_STATUS(WALREC_OK, walrec_telemetry_text(log, format, whole, sizeof whole, &again));
        CHECK_U64(again, strlen(whole) + 1);
        CHECK(whole[again - 2] == '\n');
        for (n = 1; n < 400; n += 57) {
            memset(part, 0x5a, 500);
            CHECK_STATUS(WALREC_OK, walrec_telemetry_text(log, format, part, n, &needed));
            CHECK(needed > n);
            CHECK_U64(n - 1, strlen(part));
            for (i = n; i < 500; i++)
                CHECK(part[i] == 0x5a);
        }
    }
    CHECK(strstr(whole, "\nwalrec_events_appended_total 5000\n") != NULL);
    CHECK(strstr(whole, "# TYPE walrec_append_seconds histogram\n") != NULL);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

struct looker {
    const walrec_t *log;
    uint64_t looks;
    int stop;
};

static void *look(void *argument)
{
    struct looker *looker = argument;
    uint64_t last = 0;
    static char text[1 << 20];
    while (!__atomic_load_n(&looker->stop, __ATOMIC_ACQUIRE)) {
        walrec_telemetry_t now = telemetry_of(looker->log);
        CHECK(now.events_appended >= last);
        CHECK(now.durable_event_id <= now.last_event_id);
        last = now.events_appended;
        CHECK_STATUS(WALREC_OK, walrec_telemetry_text(looker->log, WALREC_TEXT_PROMETHEUS, text, sizeof text, NULL));
        looker->looks++;
    }
    return NULL;
}

/* Another thread looks while this one appends. */
static void beside_appends(void)
{
    walrec_config_t config = config_small();
    struct looker looker;
    pthread_t thread;
    walrec_t *log;
    config.append_sample = 3;
    log = log_open(path("beside"), &config);
    memset(&looker, 0, sizeof looker);
    looker.log = log;
    REQUIRE(pthread_create(&thread, NULL, look, &looker) == 0);
    append_range(log, 1, 200000);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    __atomic_store_n(&looker.stop, 1, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(thread, NULL) == 0);
    printf("%" PRIu64 " looks beside 200000 appends\n", looker.looks);
    CHECK(looker.looks > 0);
    CHECK_U64(200000, telemetry_of(log).events_appended);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static void in_child(void *argument)
{
    walrec_telemetry_t now;
    char text[64];
    size_t needed = 1;
    memset(&now, 0, sizeof now);
    now.struct_size = sizeof now;
    if (walrec_telemetry(argument, &now) != WALREC_E_FORKED ||
        walrec_telemetry_text(argument, WALREC_TEXT_HUMAN, text, sizeof text, &needed) != WALREC_E_FORKED || needed != 0)
        _exit(1);
    _exit(0);
}

static void forked(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("forked"), &config);
    int status = wait_child(start_child(in_child, log));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static walrec_reader_telemetry_t reader_telemetry_of(const walrec_reader_t *reader)
{
    walrec_reader_telemetry_t now;
    unsigned i;
    memset(&now, 0xff, sizeof now);
    now.struct_size = sizeof now;
    REQUIRE_STATUS(WALREC_OK, walrec_reader_telemetry(reader, &now));
    CHECK_U64(sizeof now, now.struct_size);
    CHECK_U64(0, now.flags);
    for (i = 0; i < sizeof now.reserved / sizeof now.reserved[0]; i++)
        CHECK_U64(0, now.reserved[i]);
    return now;
}

static void reader_struct_size(const walrec_reader_t *reader)
{
    union {
        walrec_reader_telemetry_t telemetry;
        unsigned char bytes[2048 + 64];
    } u;
    uint32_t size;
    size_t i;
    for (size = 8; size <= 2048; size += 40) {
        memset(&u, 0xa5, sizeof u);
        u.telemetry.struct_size = size;
        CHECK_STATUS(WALREC_OK, walrec_reader_telemetry(reader, &u.telemetry));
        for (i = sizeof(walrec_reader_telemetry_t); i < size; i++)
            CHECK(u.bytes[i] == 0);
        for (i = size; i < sizeof u; i++)
            CHECK(u.bytes[i] == 0xa5);
    }
    memset(&u, 0xa5, sizeof u);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry(reader, NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry(NULL, &u.telemetry));
    for (size = 0; size < 8; size++) {
        u.telemetry.struct_size = size;
        CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry(reader, &u.telemetry));
    }
    u.telemetry.struct_size = 4104;
    CHECK_STATUS(WALREC_E_ABI, walrec_reader_telemetry(reader, &u.telemetry));
    CHECK(u.bytes[4] == 0xa5 && u.bytes[200] == 0xa5);
}

/* The texts of a strict reader and of one that salvages, after 300 events. */
static void reader_texts(const walrec_reader_t *reader)
{
    static char whole[1 << 20], part[100];
    size_t needed = 1, again;
    int32_t format;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry_text(NULL, 0, whole, sizeof whole, &needed));
    CHECK_U64(0, needed);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry_text(reader, 2, whole, sizeof whole, &needed));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry_text(reader, 0, NULL, 1, &needed));
    for (format = WALREC_TEXT_HUMAN; format <= WALREC_TEXT_PROMETHEUS; format++) {
        CHECK_STATUS(WALREC_OK, walrec_reader_telemetry_text(reader, format, NULL, 0, &needed));
        CHECK_STATUS(WALREC_OK, walrec_reader_telemetry_text(reader, format, whole, sizeof whole, &again));
        CHECK_U64(needed, again);
        CHECK_U64(needed, strlen(whole) + 1);
        memset(part, 0x5a, sizeof part);
        CHECK_STATUS(WALREC_OK, walrec_reader_telemetry_text(reader, format, part, 60, NULL));
        CHECK_U64(59, strlen(part));
        CHECK(part[60] == 0x5a && memcmp(part, whole, 59) == 0);
    }
    CHECK(strstr(whole, "\nwalrec_reader_events_total 300\n") != NULL);
    CHECK(strstr(whole, "# TYPE walrec_reader_seek_seconds histogram\n") != NULL);
}

static void readers(void)
{
    const char *dir = path("readers");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    static const uint32_t flags[] = {0, WALREC_FLAG_SALVAGE};
    walrec_event_t events[300];
    size_t got, i;
    append_range(log, 1, 30000);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    for (i = 0; i < 2; i++) {
        walrec_reader_telemetry_t now;
        walrec_reader_t *reader;
        REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, flags[i], &reader));
        now = reader_telemetry_of(reader);
        CHECK_U64(1, now.open.count);
        CHECK_U64(0, now.events);
        CHECK_STATUS(WALREC_OK, walrec_reader_seek(reader, 10001));
        REQUIRE_STATUS(WALREC_OK, walrec_reader_read(reader, events, 300, &got));
        CHECK_U64(300, got);
        CHECK_U64(10001, events[0].event_id);
        now = reader_telemetry_of(reader);
        CHECK_U64(300, now.events);
        CHECK_U64(1, now.seek.count);
        CHECK(now.blocks >= 1 && now.bytes >= now.blocks * 16448);
        CHECK_U64(2, now.segments_hot);
        CHECK(now.next.count > 0 && now.open_segment.count > 0);
        CHECK(ordered(&now.open) && ordered(&now.seek) && ordered(&now.open_segment) && ordered(&now.next));
        CHECK_U64(0, now.gaps + now.form_switches + now.segments_frozen);
        reader_struct_size(reader);
        reader_texts(reader);
        walrec_reader_close(reader);
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static void absent_of_reader(void)
{
    walrec_reader_telemetry_t now;
    walrec_reader_t *reader;
    char message[256];
    size_t needed = 1;
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(path("absent"), 0, 0, &reader));
    memset(&now, 0xa5, sizeof now);
    now.struct_size = sizeof now;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry(reader, &now));
    walrec_last_error(message, sizeof message);
    CHECK(strstr(message, "without the feature telemetry") != NULL);
    CHECK(now.flags == 0xa5a5a5a5u);
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_telemetry_text(reader, WALREC_TEXT_HUMAN, message, sizeof message, &needed));
    CHECK_U64(0, needed);
    walrec_reader_close(reader);
}

/* A library that was built without the feature says so, and that is all there is to it. */
static int absent(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("absent"), &config);
    walrec_telemetry_t now;
    char message[256];
    size_t needed = 1;
    int is_absent;
    memset(&now, 0xa5, sizeof now);
    now.struct_size = sizeof now;
    is_absent = walrec_telemetry(log, &now) == WALREC_E_INVALID;
    if (is_absent) {
        walrec_last_error(message, sizeof message);
        CHECK(strstr(message, "without the feature telemetry") != NULL);
        CHECK(now.flags == 0xa5a5a5a5u);
        CHECK_STATUS(WALREC_E_INVALID, walrec_telemetry_text(log, WALREC_TEXT_HUMAN, message, sizeof message, &needed));
        CHECK_U64(0, needed);
        absent_of_reader();
        printf("SKIP telemetry: the library was built without it\n");
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    return is_absent;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    if (!absent()) {
        numbers();
        texts();
        beside_appends();
        forked();
        readers();
    }
    return check_end();
}
