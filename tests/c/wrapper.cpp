/* walrec.hpp: every member does what the C call does, a handle is closed once, and nothing is lost between loops. */
#include "walrec.hpp"
#include "walrec.hpp" /* twice */

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

static_assert(!std::is_copy_constructible_v<walrec::recorder> && !std::is_copy_assignable_v<walrec::recorder>);
static_assert(std::is_nothrow_move_constructible_v<walrec::recorder> && std::is_nothrow_move_assignable_v<walrec::recorder>);
static_assert(!std::is_copy_constructible_v<walrec::reader> && std::is_nothrow_move_constructible_v<walrec::reader>);
static_assert(sizeof(walrec::recorder) == 2 * sizeof(void *), "a handle, its cursor, and nothing more");
static_assert(sizeof(walrec::status) == sizeof(walrec_status_t), "returned in a register");
static_assert(!std::is_constructible_v<walrec::status, bool> && !std::is_assignable_v<walrec::status &, bool>, "false is not OK");
static_assert(std::is_convertible_v<walrec_status_t, walrec::status> && std::is_constructible_v<walrec::status, long long>);
static_assert(noexcept(std::declval<walrec::recorder &>().emplace(std::declval<void (*)(walrec::event &) noexcept>())), "never throws");

/* Another patch version fits; another minor version does from 1.0 on; nothing else. */
static_assert(walrec::detail::fits(WALREC_ABI_VERSION, WALREC_VERSION_NUMBER));
static_assert(walrec::detail::fits(WALREC_ABI_VERSION, WALREC_VERSION_NUMBER - WALREC_VERSION_PATCH + 99));
static_assert(walrec::detail::fits(WALREC_ABI_VERSION, WALREC_VERSION_NUMBER + 100) == (WALREC_VERSION_MAJOR > 0));
static_assert(!walrec::detail::fits(WALREC_ABI_VERSION, WALREC_VERSION_NUMBER + 10000));
static_assert(!walrec::detail::fits(WALREC_ABI_VERSION + 1, WALREC_VERSION_NUMBER));

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::printf("%s:%d: FAILED: %s \"%s\"\n", __FILE__, __LINE__, #condition,              \
                        walrec::last_error().c_str());                                             \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

/* Linked with --wrap: commits that reach the library. */
static unsigned long commits;
extern "C" walrec_status_t __real_walrec_commit(walrec_t *walrec);
extern "C" walrec_status_t __wrap_walrec_commit(walrec_t *walrec)
{
    commits++;
    return __real_walrec_commit(walrec);
}

static void fill(walrec::event &e, std::uint64_t id)
{
    std::memset(&e, 0, sizeof e);
    e.event_id = id;
    e.timestamp_ns = 1000 + id;
    e.price = -static_cast<std::int64_t>(id * 7);
}

static bool is_right(const walrec::event &e, std::uint64_t id)
{
    return e.event_id == id && e.timestamp_ns == 1000 + id && e.price == -static_cast<std::int64_t>(id * 7);
}

static walrec::config small()
{
    walrec::config config;
    config.num_blocks = 16;
    config.stage_slots = 3;
    config.max_segments = WALREC_KEEP_ALL;
    return config;
}

static bool says(const char *part) { return std::strstr(walrec::last_error().c_str(), part) != nullptr; }

constexpr std::uint64_t LAST = 10000;

static void record(const char *dir)
{
    walrec::recorder log;
    CHECK(!log.is_open() && log.emplace([](walrec::event &) {}).code() == WALREC_E_INVALID);
    CHECK(log.last_event_id() == 0 && log.watermarks().appended() == 0 && log.watermarks().durable() == 0);
    CHECK(log.close());
    CHECK(log.open(dir, small()));
    walrec::recorder second;
    CHECK(second.open(dir, small()).code() == WALREC_E_LOCKED && !second.is_open() && says("locked"));
    CHECK(log.open(dir).code() == WALREC_E_INVALID && log.is_open() && says("walrec_open: out"));

    std::uint64_t id = 0;
    unsigned long emplaced = 0;
    commits = 0;
    while (id < LAST - 20) {
        ++id;
        if (id % 3 == 0) {
            walrec::event e;
            fill(e, id);
            CHECK(log.append(e));
        } else {
            CHECK(log.emplace([&](walrec::event &e) { fill(e, id); }));
            emplaced++;
        }
    }
    /* Ends of blocks, and events whose append is timed, go through the library; with another layout all of them do. */
    CHECK(emplaced > LAST / 2 && (WALREC_CURSOR_LAYOUT == 1 ? commits * 50 < emplaced : commits == emplaced));
    walrec::event batch[20];
    for (walrec::event &e : batch)
        fill(e, ++id);
    std::size_t done = 0;
    CHECK(log.append(batch, 10, &done) && done == 10);
#ifdef __cpp_lib_span
    CHECK(log.append(std::span<const walrec::event>(batch + 10, 10), &done) && done == 10);
#else
    CHECK(log.append(batch + 10, 10));
#endif
    /* A wrong id records nothing. */
    const walrec::status refused = log.emplace([](walrec::event &e) { fill(e, 5); });
    CHECK(refused.code() == WALREC_E_ORDER && refused.is_error() && !refused && log.last_event_id() == LAST);
    CHECK(std::strcmp(refused.text(), walrec_status_str(WALREC_E_ORDER)) == 0);

    walrec::recorder moved = std::move(log);
    CHECK(!log.is_open() && moved.is_open());
    log = std::move(moved);
    walrec::recorder &same = log;
    log = std::move(same);
    CHECK(log.is_open() && !moved.is_open());

    CHECK(log.sync() && log.durable_event_id() == LAST);
    CHECK(log.sync(LAST, std::chrono::milliseconds(1)));
    CHECK(log.watermarks().appended() == LAST && log.watermarks().durable() == LAST);
    CHECK(log.notify_durable(1, -1).code() == WALREC_E_IO);
    walrec::meta_state meta;
    CHECK(log.meta(meta) && meta.last_event_id == LAST);
    walrec::open_report report;
    CHECK(log.report(report) && report.last_event_id == 0);
    walrec_telemetry_t telemetry;
    CHECK(log.telemetry(telemetry) && telemetry.events_appended == LAST);
    std::size_t needed = 0;
    CHECK(log.telemetry_text(WALREC_TEXT_PROMETHEUS, nullptr, 0, &needed) && needed > 1000);
    CHECK(log.set_retention_floor(1) && log.rotate() && log.attach_thread());
    CHECK(log.shutdown() && log.shutdown().code() == WALREC_E_CLOSED);
    walrec_t *handle = log.release();
    CHECK(handle != nullptr && !log.is_open());
    walrec::recorder adopted(handle);
    CHECK(adopted.close() && !adopted.is_open());
    CHECK(adopted.emplace([](walrec::event &) {}).code() == WALREC_E_INVALID);
}

#ifdef __cpp_exceptions
static void a_throw_records_nothing(const char *dir)
{
    walrec::recorder log;
    CHECK(log.open(dir, small()));
    bool caught = false;
    try {
        (void)log.emplace([](walrec::event &e) {
            fill(e, LAST + 1);
            throw 1;
        });
    } catch (int) {
        caught = true;
    }
    CHECK(caught && log.last_event_id() == LAST);
    /* The reservation is gone, so there is nothing to commit. */
    CHECK(walrec_commit(log.get()) == WALREC_E_INVALID);
    CHECK(log.close());
}
#endif

static void read_back(const char *dir)
{
    walrec::reader in;
    CHECK(in.open(dir) && in.open(dir).code() == WALREC_E_INVALID && says("walrec_reader_open: out"));
    std::uint64_t id = 0;
    for (const walrec::event &e : in) {
        CHECK(is_right(e, ++id));
        if (id == 100)
            break;
    }
    CHECK(id == 100 && in.last_status());
    /* A loop that was left loses nothing, nor does a move. */
    walrec::reader moved = std::move(in);
    walrec::event e;
    CHECK(in.next(e).code() == WALREC_E_INVALID);
    CHECK(moved.next(e) && is_right(e, ++id));
    for (const walrec::event &next : moved)
        CHECK(is_right(next, ++id));
    CHECK(id == LAST && moved.last_status().code() == WALREC_END && !moved.last_status().is_error());
    CHECK(moved.seek(5000) && moved.next(e) && is_right(e, 5000));
    CHECK(moved.seek_time(1000 + 7000) && moved.next(e) && is_right(e, 7000));
    walrec::gap gap;
    CHECK(moved.last_gap(gap).code() == WALREC_E_NOT_FOUND);
    walrec_reader_telemetry_t telemetry;
    CHECK(moved.telemetry(telemetry) && telemetry.events > LAST);
    char text[1 << 15];
    std::size_t needed = 0;
    CHECK(moved.telemetry_text(WALREC_TEXT_PROMETHEUS, text, sizeof text, &needed) && needed > 1000 && needed <= sizeof text);
    CHECK(std::strstr(text, "\nwalrec_reader_events_total ") != nullptr);
    walrec_verify_report_t report;
    CHECK(walrec::verify(dir, report) && report.events == LAST);
    walrec::reader none;
    CHECK(none.open("/nowhere/at/all").code() == WALREC_E_NOT_FOUND && !none.is_open());
#ifdef __cpp_lib_expected
    auto opened = walrec::read(dir, LAST);
    CHECK(opened.has_value() && opened->next(e) && is_right(e, LAST));
    CHECK(walrec::read("/nowhere/at/all").error().code() == WALREC_E_NOT_FOUND);
    auto log = walrec::open(dir, small());
    CHECK(log.has_value() && log->last_event_id() == LAST);
    CHECK(walrec::open(dir, small()).error().code() == WALREC_E_LOCKED);
    CHECK(log->close());
#endif
}

/* A seek to what is there no more: the events that were read ahead are still the ones that come. */
static void a_failed_seek_skips_nothing(const std::string &dir)
{
    walrec::reader in;
    walrec::event e;
    CHECK(std::remove((dir + "/FS.00000000.wal").c_str()) == 0);
    CHECK(in.open(dir.c_str()) && in.next(e));
    const std::uint64_t id = e.event_id;
    CHECK(id > 1 && is_right(e, id));
    CHECK(in.seek(1).code() == WALREC_E_NOT_FOUND && in.last_status().code() == WALREC_E_NOT_FOUND);
    CHECK(in.next(e) && is_right(e, id + 1));
    /* The same by time, where the segment has no header any more. */
    std::FILE *segment = std::fopen((dir + "/FS.00000001.wal").c_str(), "r+b");
    const char zeros[64] = {};
    CHECK(segment != nullptr && std::fwrite(zeros, sizeof zeros, 1, segment) == 1 && std::fclose(segment) == 0);
    CHECK(in.seek_time(1000 + id).code() == WALREC_E_CORRUPT);
    CHECK(in.next(e) && is_right(e, id + 2));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const std::string dir = std::string(argv[1]) + "/log";
    CHECK(walrec::library_fits());
    record(dir.c_str());
#ifdef __cpp_exceptions
    a_throw_records_nothing(dir.c_str());
#endif
    read_back(dir.c_str());
    a_failed_seek_skips_nothing(dir);
    std::printf("FIGURE walrec.hpp: __cplusplus %ld, span %d, expected %d: %llu events by emplace, append and batch, read back\n",
                static_cast<long>(__cplusplus),
#ifdef __cpp_lib_span
                1,
#else
                0,
#endif
#ifdef __cpp_lib_expected
                1,
#else
                0,
#endif
                static_cast<unsigned long long>(LAST));
    return 0;
}
