// SPDX-License-Identifier: MIT OR Apache-2.0
//
// run_day.cpp: kills a matching engine twice in its day and shows that nothing was lost.
//
//   1. A day of order messages is generated.
//   2. The engine records it and is killed (SIGKILL) at a random message.
//   3. It is started again and killed while it replays its log.
//   4. It is started again, replays, and finishes the day.
//   5. Another engine records the same day uninterrupted, in a log of its own; one more runs without any log.
//   6. Books, trades and events of all must be equal, and each start must have found all that was appended before
//      the kill, told by a page of shared memory that outlives the engine (progress.hpp).
//
// A kill that comes too late is reported as missed and tried again, never counted. Exit code: 0 only if everything is
// EQUAL and 0 events were lost; 1 if not, or if a step failed; 2 for bad input.
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <csignal>
#include <sys/mman.h>

#include "arguments.hpp"
#include "child.hpp"
#include "progress.hpp"
#include "random.hpp"

namespace {

namespace fs = std::filesystem;

const char help[] = "usage: run_day --engine PATH --itch-gen PATH --work DIR [options]\n"
                    "Records a generated day with two kill -9 and compares it with an uninterrupted run.\n"
                    "  --engine PATH    the engine program\n"
                    "  --itch-gen PATH  the generator program\n"
                    "  --work DIR       for the day's file and the logs; made if missing\n"
                    "  --messages N     order messages, 1000 and up (default 2000000)\n"
                    "  --stocks K       stocks, 1 to 10000 (default 20)\n"
                    "  --seed S         chooses the day and the moments of the kills (default: the clock; printed)\n"
                    "  --keep           keep the day's file and the logs (a day with --seed is kept anyway)\n";

struct Options {
    std::string engine;
    std::string itch_gen;
    std::string work;
    uint64_t messages = 2000000;
    uint64_t stocks = 20;
    uint64_t seed = 0;
    bool seed_given = false;
    bool keep = false;
};

/// One start of an engine and what became of it.
struct Start {
    std::string name;
    std::string outcome;
    bool opened = false;      // walrec_open returned, and the lines of its report were read
    uint64_t recovered_id = 0;
    uint64_t from_stage = 0;
    uint64_t recovery_ns = 0;
    uint64_t replayed = 0;
    uint64_t appended = 0;
    Phase phase = Phase::opening; // the last one seen
    bool killed = false;
};

/// What must be the same however the day was run.
struct Books {
    std::string digest;
    uint64_t events = 0;
    uint64_t trades = 0;
    uint64_t volume = 0;
    uint64_t orders = 0;
    uint64_t events_per_second = 0;
    uint64_t stale = 0;

    bool equals(const Books &other) const
    {
        return digest == other.digest && events == other.events && trades == other.trades && volume == other.volume &&
               orders == other.orders;
    }
};

/// One line, drawn again on a terminal, a line per quarter elsewhere.
class Bar {
public:
    explicit Bar(std::string name) : name_(std::move(name)), terminal_(::isatty(STDERR_FILENO) == 1) {}
    ~Bar()
    {
        if (drawn_ && terminal_) {
            std::fputs("\r\033[K", stderr);
        }
    }

    void draw(const char *what, uint64_t done, uint64_t all)
    {
        const uint64_t share = all == 0 ? 0 : std::min<uint64_t>(100, done * 100 / all);
        if (terminal_) {
            const auto now = std::chrono::steady_clock::now();
            if (now - last_ < std::chrono::milliseconds(50)) {
                return;
            }
            last_ = now;
            std::string bar(40, '.');
            bar.replace(0, share * 40 / 100, share * 40 / 100, '#');
            std::fprintf(stderr, "\r%-24s %-10s [%s] %3" PRIu64 " %%", name_.c_str(), what, bar.c_str(), share);
            drawn_ = true;
        } else if (what != what_ || share / 25 != quarter_) {
            std::fprintf(stderr, "%s: %s %" PRIu64 " %%\n", name_.c_str(), what, share);
            what_ = what;
            quarter_ = share / 25;
        }
    }

private:
    std::string name_;
    bool terminal_;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point last_{};
    const char *what_ = nullptr;
    uint64_t quarter_ = 0;
};

/// Set by SIGINT and SIGTERM. The engine is then killed, and its stage is given back before the driver ends.
volatile std::sig_atomic_t interrupted = 0;

void interrupt(int) { interrupted = 1; }

using KillWhen = std::function<bool(const Progress &)>;

class RunDay {
public:
    explicit RunDay(const Options &options) : options_(options), random_(options.seed ^ 0x6b696c6c) {}

    bool run()
    {
        std::error_code error;
        fs::create_directories(options_.work, error);
        if (error || !fs::is_directory(options_.work)) {
            throw InputError("--work " + options_.work + ": is no directory and cannot be made one");
        }
        std::printf("seed %" PRIu64 ", %" PRIu64 " order messages, %" PRIu64 " stocks\n", options_.seed,
                    options_.messages, options_.stocks);
        std::fflush(stdout);
        make_day();
        std::string pattern = (fs::path(options_.work) / "run-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) {
            throw RunError(pattern + ": cannot be made: " + std::strerror(errno));
        }
        logs_ = pattern;
        bool good = false;
        try {
            good = compare();
        } catch (...) {
            if (interrupted != 0) {
                remove_logs();
            } else {
                std::fprintf(stderr, "run_day: the logs are kept in %s\n", logs_.c_str());
            }
            throw;
        }
        if (good && !options_.keep) {
            fs::remove_all(logs_, error);
        } else {
            std::printf("kept: %s and %s\n", logs_.c_str(), day_.c_str());
        }
        if (good && !options_.keep && !options_.seed_given) {
            fs::remove(day_, error);
        }
        return good;
    }

private:
    /// A log whose engine was killed has its stage in shared memory still: opening and closing it gives that back.
    void remove_logs()
    {
        std::error_code error;
        for (const fs::directory_entry &log : fs::directory_iterator(logs_, error)) {
            Child({options_.engine, "--log", log.path().string(), "--digest-only"}).wait();
        }
        fs::remove_all(logs_, error);
    }

    void make_day()
    {
        const std::string name = "day-" + std::to_string(options_.messages) + "-" +
                                 std::to_string(options_.stocks) + "-" + std::to_string(options_.seed) + ".itch";
        day_ = (fs::path(options_.work) / name).string();
        if (fs::exists(day_)) {
            std::printf("day: %s is there already\n", day_.c_str());
            return;
        }
        Child generator({options_.itch_gen, day_ + ".new", "--messages", std::to_string(options_.messages), "--stocks",
                         std::to_string(options_.stocks), "--seed", std::to_string(options_.seed)});
        Bar bar("generate the day");
        std::error_code error;
        while (!generator.ended()) {
            const uint64_t bytes = fs::file_size(day_ + ".new", error);
            bar.draw("writing", error ? 0 : bytes, options_.messages * 30); // about 30 bytes a message
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        if (!generator.succeeded()) {
            throw RunError(generator.outcome());
        }
        fs::rename(day_ + ".new", day_); // a day is whole or not there
    }

    /// Starts the engine, kills it as soon as kill_when says so, and takes in what it printed and published.
    Start start(const std::string &name, const std::string &log, const KillWhen &kill_when, Books *books)
    {
        const int memory = ::memfd_create("progress", 0); // inherited by the engine, which opens it by its number
        if (memory < 0) {
            throw RunError(std::string("memfd_create: ") + std::strerror(errno));
        }
        ProgressFile progress(memory);
        std::vector<std::string> command{options_.engine, "--itch", day_, "--progress-file",
                                         "/proc/self/fd/" + std::to_string(memory)};
        command.insert(command.end(), {log.empty() ? "--no-log" : "--log"});
        if (!log.empty()) {
            command.insert(command.end(), {log, "--acks", "durable"});
        }
        Child engine(command);
        ::close(memory);
        Start result;
        result.name = name;
        watch(name, engine, *progress, kill_when);
        if (interrupted != 0) {
            throw RunError("interrupted");
        }
        result.phase = progress->get();
        result.killed = engine.was_killed();
        result.opened = engine.has("recovery_ns");
        result.appended = progress->events_appended.load();
        result.replayed = progress->events_replayed.load();
        if (result.opened) {
            result.recovered_id = engine.number("report_last_event_id");
            result.from_stage = engine.number("events_from_stage");
            result.recovery_ns = engine.number("recovery_ns");
        }
        if (!result.killed && !engine.succeeded()) {
            throw RunError(engine.outcome() + " (" + name + ")");
        }
        static const char *const during[] = {"opening", "replaying", "matching", "at its end"};
        result.outcome = result.killed ? std::string("killed while ") + during[static_cast<size_t>(result.phase)]
                                       : "finished the day";
        if (result.killed && result.phase == Phase::matching) {
            result.outcome += ", message " + std::to_string(progress->messages_done.load());
        } else if (result.killed && result.phase == Phase::replaying) {
            result.outcome += ", event " + std::to_string(result.replayed);
        }
        if (!result.killed && books != nullptr) {
            books->digest = engine.text("digest");
            books->events = engine.number("events");
            books->trades = engine.number("trades");
            books->volume = engine.number("volume");
            books->orders = engine.number("orders");
            books->events_per_second = engine.number("events_per_second");
            books->stale = engine.number("stale");
        }
        if (!result.killed && !log.empty()) {
            const uint64_t sent = engine.number("acknowledged");
            if (sent != engine.number("appended")) {
                throw RunError(name + ": of the appended events " + std::to_string(sent) + " were acknowledged");
            }
            result.outcome += ", acknowledged when durable: lag p50 " +
                              std::to_string(engine.number("ack_lag_p50_ns") / 1000) + ", p99 " +
                              std::to_string(engine.number("ack_lag_p99_ns") / 1000) + " us";
        }
        if (!log.empty()) {
            check_nothing_lost(result, progress->last_event_id.load());
        }
        return result;
    }

    void watch(const std::string &name, Child &engine, const Progress &progress, const KillWhen &kill_when)
    {
        Bar bar(name);
        static const char *const phases[] = {"opening", "replaying", "matching", "done"};
        while (!engine.ended()) {
            if (interrupted != 0) {
                throw RunError("interrupted");
            }
            if (kill_when != nullptr && kill_when(progress)) {
                engine.kill();
                engine.wait();
                return;
            }
            const Phase phase = progress.get();
            const bool replaying = phase == Phase::replaying;
            bar.draw(phases[static_cast<size_t>(phase)],
                     replaying ? progress.events_replayed.load() : progress.messages_done.load(),
                     replaying ? in_log_ : options_.messages);
            std::this_thread::sleep_for(std::chrono::microseconds(kill_when != nullptr ? 20 : 1000));
        }
    }

    /// in_log_ and last_id_ are what the page showed to be appended. An engine may have died between append and the
    /// page, so a later start may find more (one event), never less.
    void check_nothing_lost(const Start &now, uint64_t published_id)
    {
        if (now.opened && now.recovered_id < last_id_) {
            ++short_starts_;
            std::printf("LOST: %s found event %" PRIu64 " as the last, but %" PRIu64 " was appended before\n",
                        now.name.c_str(), now.recovered_id, last_id_);
        }
        // Only a replay that came to its end has counted the log.
        if (now.phase == Phase::matching || now.phase == Phase::done) {
            lost_ += in_log_ > now.replayed ? in_log_ - now.replayed : 0;
            in_log_ = now.replayed + now.appended;
        }
        last_id_ = std::max({last_id_, published_id, now.recovered_id});
    }

    void begin_log()
    {
        in_log_ = 0;
        last_id_ = 0;
    }

    bool compare()
    {
        std::vector<Start> starts;
        const std::string killed_log = kill_while_matching(starts);
        kill_while_replaying(killed_log, starts);
        Books killed;
        starts.push_back(start("third start: finish", killed_log, nullptr, &killed));
        const uint64_t recovered_last = starts.back().recovered_id;

        begin_log();
        Books uninterrupted;
        starts.push_back(start("uninterrupted", (fs::path(logs_) / "uninterrupted").string(), nullptr, &uninterrupted));
        Books without_log;
        start("without a log", "", nullptr, &without_log);

        print_table(starts);
        std::printf("\n%-16s %12s %12s %10s %12s %8s %14s  %s\n", "run", "events", "trades", "orders", "volume",
                    "stale", "events/s", "digest");
        print_books("killed twice", killed);
        print_books("uninterrupted", uninterrupted);
        print_books("without a log", without_log);
        const bool equal = killed.equals(uninterrupted) && killed.equals(without_log);
        std::printf("\nlast event recovered %" PRIu64 ", events/s of the killed run: the part after it\n",
                    recovered_last);
        std::printf("lost %" PRIu64 "\n", std::max(lost_, short_starts_));
        std::printf("%s\n", equal ? "EQUAL" : "DIFFERENT");
        std::fflush(stdout);
        return equal && lost_ == 0 && short_starts_ == 0;
    }

    /// A kill at a random message in 10 to 90 % of the day. Too late (the day was done): again, in a new log.
    std::string kill_while_matching(std::vector<Start> &starts)
    {
        for (unsigned attempt = 1; attempt <= 5; ++attempt) {
            const uint64_t at = random_.from_to(options_.messages / 10, options_.messages / 10 * 9);
            const std::string log = (fs::path(logs_) / ("killed-" + std::to_string(attempt))).string();
            begin_log();
            const Start first = start("first start: record", log, [at](const Progress &progress) {
                return progress.messages_done.load(std::memory_order_relaxed) >= at;
            }, nullptr);
            if (first.killed && first.phase == Phase::matching) {
                starts.push_back(first);
                return log;
            }
            std::printf("missed: the engine was done before the kill at message %" PRIu64 ", trying again\n", at);
        }
        throw RunError("the engine is done too soon to be killed: give more --messages");
    }

    /// A kill at a random event in 10 to 80 % of the replay. Too late (it matched already): again; the log is longer
    /// then.
    void kill_while_replaying(const std::string &log, std::vector<Start> &starts)
    {
        for (unsigned attempt = 1; attempt <= 5; ++attempt) {
            const uint64_t tenth = std::max<uint64_t>(1, in_log_ / 10);
            const uint64_t at = random_.from_to(tenth, tenth * 8);
            starts.push_back(start("second start: replay", log, [at](const Progress &progress) {
                return progress.events_replayed.load(std::memory_order_relaxed) >= at;
            }, nullptr));
            if (starts.back().killed && starts.back().phase == Phase::replaying) {
                return;
            }
            starts.back().outcome += " (missed the replay)";
            std::printf("missed: the engine had replayed its log before the kill at event %" PRIu64 ", trying again\n",
                        at);
        }
        throw RunError("the replay is over too soon to be killed: give more --messages");
    }

    void print_table(const std::vector<Start> &starts) const
    {
        std::printf("\n%-22s %14s %11s %12s %11s %11s  %s\n", "start", "recovered id", "from stage", "recovery ms",
                    "replayed", "appended", "outcome");
        for (const Start &s : starts) {
            std::printf("%-22s %14" PRIu64 " %11" PRIu64 " %12.2f %11" PRIu64 " %11" PRIu64 "  %s\n", s.name.c_str(),
                        s.recovered_id, s.from_stage, static_cast<double>(s.recovery_ns) / 1e6, s.replayed, s.appended,
                        s.outcome.c_str());
        }
    }

    static void print_books(const char *name, const Books &books)
    {
        std::printf("%-16s %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %12" PRIu64 " %8" PRIu64 " %14" PRIu64 "  %s\n",
                    name, books.events, books.trades, books.orders, books.volume, books.stale, books.events_per_second,
                    books.digest.c_str());
    }

    const Options &options_;
    Random random_;
    std::string day_;
    std::string logs_;
    uint64_t in_log_ = 0;
    uint64_t last_id_ = 0;
    uint64_t lost_ = 0;
    uint64_t short_starts_ = 0;
};

/// False: help was asked for.
bool read_options(int argc, char **argv, Options &options)
{
    for (Arguments args(argc, argv); args.next();) {
        if (args.is("--help") || args.is("-h")) {
            return false;
        } else if (args.is("--engine")) {
            options.engine = args.value();
        } else if (args.is("--itch-gen")) {
            options.itch_gen = args.value();
        } else if (args.is("--work")) {
            options.work = args.value();
        } else if (args.is("--messages")) {
            options.messages = args.number(1000, 1000000000000);
        } else if (args.is("--stocks")) {
            options.stocks = args.number(1, 10000);
        } else if (args.is("--seed")) {
            options.seed = args.number(0, UINT64_MAX);
            options.seed_given = true;
        } else if (args.is("--keep")) {
            options.keep = true;
        } else {
            args.unknown();
        }
    }
    if (options.engine.empty() || options.itch_gen.empty() || options.work.empty()) {
        throw InputError("--engine, --itch-gen and --work are needed (see --help)");
    }
    if (!options.seed_given) {
        options.seed = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    }
    return true;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        Options options;
        if (!read_options(argc, argv, options)) {
            std::fputs(help, stdout);
            return 0;
        }
        std::signal(SIGINT, interrupt);
        std::signal(SIGTERM, interrupt);
        return RunDay(options).run() ? 0 : 1;
    } catch (const InputError &error) {
        std::fprintf(stderr, "run_day: %s\n", error.what());
        return 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "run_day: %s\n", error.what());
        return 1;
    }
}
