// SPDX-License-Identifier: MIT OR Apache-2.0
//
// engine.cpp: a matching engine on walrec. Each request of the feed is built in the log's memory and appended before it touches a book,
// and its acknowledgement leaves when it has reached the level that was asked for (see gate.hpp).
//
// A start, whether the first or the one after a kill -9, is always the same: open the log (which recovers it), replay
// it whole into the books, then go on with the feed after the last recovered event. That event's id is the only thing
// that tells where: id / 4 is the message's number, id % 4 which of its events it was. No checkpoint, no second file.
//
// Standard output has one key=value a line, for programs; errors go to standard error. Exit code: 0 done, 1 the
// log or the system failed, 2 bad input.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "arguments.hpp"
#include "gate.hpp"
#include "itch_reader.hpp"
#include "lobster_reader.hpp"
#include "order_book.hpp"
#include "progress.hpp"
#include "request.hpp"
#include "walrec.hpp"

namespace {

const char help[] =
    "usage: engine --log DIR (--itch FILE | --lobster FILE) [options]\n"
    "Matches a day of order messages, recording every request in the walrec log DIR; continues where the log ends.\n"
    "  --log DIR               the log's directory, made if missing\n"
    "  --itch FILE             NASDAQ TotalView-ITCH 5.0, BinaryFILE framing, plain or gzip\n"
    "  --lobster FILE          LOBSTER message CSV, plain or gzip\n"
    "  --no-log                instead of --log: match without recording\n"
    "  --digest-only           replay the log and print the books' digest; takes no feed\n"
    "  --stop-after-message N  end in good order after message N of the file\n"
    "  --num-blocks N          blocks a segment, 16 to 131072 (default: the library's)\n"
    "  --stage-slots N         segments in the stage, 3 and up (default: the library's)\n"
    "  --flush-interval-us N   microseconds to the write of an append (default: the library's)\n"
    "  --keep-hot              never compress a segment of the log\n"
    "  --acks LEVEL            appended (default) or durable: when the acknowledgement of an event leaves\n"
    "  --progress-file FILE    a page shared with a driver, see progress.hpp\n";

struct Options {
    std::string log;
    std::string itch;
    std::string lobster;
    std::string progress_file;
    bool no_log = false;
    bool digest_only = false;
    bool keep_hot = false;
    AckLevel acks = AckLevel::appended;
    uint64_t stop_after_message = UINT64_MAX;
    uint32_t num_blocks = 0; // 0 = the library's default
    uint32_t stage_slots = 0;
    uint32_t flush_interval_us = 0;
};

/// Throws when a call did not give OK.
void expect(walrec::status status, const std::string &what)
{
    if (!status) {
        throw RunError(what + ": " + status.text() + ": " + walrec::last_error().c_str());
    }
}

void print(const char *key, uint64_t value) { std::printf("%s=%" PRIu64 "\n", key, value); }

uint64_t now_ns()
{
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

void log_message(void *, int32_t level, const char *message)
{
    if (level <= WALREC_LOG_WARNING) {
        std::fprintf(stderr, "walrec %s: %s\n", level == WALREC_LOG_ERROR ? "error" : "warning", message);
    }
}

class Engine {
public:
    explicit Engine(const Options &options) : options_(options), progress_(options.progress_file), gate_(options.acks) {}

    void run()
    {
        // The feed first: gzip is forked before the recorder's threads exist, and a wrong path costs nothing.
        std::unique_ptr<Feed> feed;
        if (!options_.itch.empty()) {
            feed = std::make_unique<ItchReader>(options_.itch);
        } else if (!options_.lobster.empty()) {
            feed = std::make_unique<LobsterReader>(options_.lobster);
        }
        if (!options_.no_log) {
            open_log();
            progress_->set(Phase::replaying);
            replay();
        }
        if (feed != nullptr) {
            progress_->set(Phase::matching);
            match(*feed);
        }
        if (log_.is_open()) {
            close_log();
        }
        print_result();
        progress_->set(Phase::done);
    }

private:
    void open_log()
    {
        walrec::config config;
        config.num_blocks = options_.num_blocks;
        config.stage_slots = options_.stage_slots;
        config.flush_interval_us = options_.flush_interval_us;
        config.max_compressed_segments = WALREC_KEEP_ALL; // the books are rebuilt from the log's first event
        if (options_.keep_hot) {
            config.max_segments = WALREC_KEEP_ALL;
        }
        config.log_cb = log_message;
        expect(log_.open(options_.log.c_str(), config), "opening " + options_.log);
        expect(log_.report(report_), "the report of the open");
        print("report_first_event_id", report_.first_event_id);
        print("report_last_event_id", report_.last_event_id);
        print("report_flags", report_.flags);
        print("events_from_stage", report_.events_from_stage);
        print("bytes_cut", report_.bytes_cut);
        std::printf("cut_reason=%s\n", walrec_reason_str(report_.cut_reason));
        print("segments", report_.segments);
        print("segments_compressed", report_.segments_compressed);
        print("recovery_ns", report_.recovery_ns);
        std::fflush(stdout);
    }

    /// The whole log into the books. Every recovered event is durable by now, so the reader must reach the last one.
    void replay()
    {
        const uint64_t begin = now_ns();
        if (report_.last_event_id != 0) {
            walrec::reader reader;
            expect(reader.open(options_.log.c_str()), "reading " + options_.log);
            read_all(reader);
        }
        if (last_.event_id != report_.last_event_id || replayed_first_ != report_.first_event_id) {
            throw RunError(options_.log + ": the open report speaks of events " +
                           std::to_string(report_.first_event_id) + " to " + std::to_string(report_.last_event_id) +
                           ", but reading gave " + std::to_string(replayed_first_) + " to " +
                           std::to_string(last_.event_id));
        }
        print("replayed_events", replayed_);
        print("replay_ns", now_ns() - begin);
        std::fflush(stdout);
    }

    void read_all(walrec::reader &reader)
    {
        for (const walrec::event &event : reader) {
            if (event.event_id <= last_.event_id) {
                throw RunError(options_.log + ": event " + std::to_string(event.event_id) + " was read after event " +
                               std::to_string(last_.event_id));
            }
            replayed_first_ = replayed_ == 0 ? event.event_id : replayed_first_;
            replayed_messages_ += event.event_id / 4 != last_.event_id / 4;
            apply(event, books_, counts_);
            last_ = event;
            progress_->events_replayed.store(++replayed_, std::memory_order_relaxed);
        }
        if (reader.last_status().code() != WALREC_END) {
            expect(reader.last_status(), "reading " + options_.log);
        }
    }

    /// The feed, from the message after the last recovered event on.
    void match(Feed &feed)
    {
        const uint64_t resume_at = last_.event_id / 4; // 0 = from the beginning
        Message message;
        uint64_t skipped_requests = 0;
        uint64_t begin = now_ns();
        while (messages_ < options_.stop_after_message && feed.next(message)) {
            messages_ = message.number;
            if (message.number <= resume_at) {
                skipped_requests += message.action != Action::none;
                if (message.number < resume_at) {
                    continue;
                }
                check_same_feed(message, skipped_requests);
                begin = now_ns(); // the rate is that of matching, not of skipping
                if (last_.event_id % 4 == 0 && has_second_event(message, last_)) {
                    record([&] { return second_event(message, last_); }); // killed between the two events of a replace
                }
            } else if (message.action != Action::none) {
                record([&] { return first_event(message, books_); });
                if (has_second_event(message, last_)) {
                    record([&] { return second_event(message, last_); });
                }
            }
            progress_->messages_done.store(messages_, std::memory_order_relaxed);
            if (log_.is_open()) {
                gate_.poll(log_);
            }
        }
        if (messages_ < resume_at && messages_ < options_.stop_after_message) {
            throw InputError("the file has " + std::to_string(messages_) + " messages, but " + options_.log +
                             " was recorded up to message " + std::to_string(resume_at) + ": another file");
        }
        match_ns_ = now_ns() - begin;
    }

    /// A log that belongs to another file would give nonsense without any error: compare what can be compared.
    void check_same_feed(const Message &message, uint64_t requests) const
    {
        if (message.action == Action::none || message.timestamp_ns != last_.timestamp_ns ||
            message.type != last_.user_bytes[message_type_byte] || requests != replayed_messages_) {
            throw InputError("message " + std::to_string(message.number) + " of the file is not the one that " +
                             options_.log + " ends with (event " + std::to_string(last_.event_id) +
                             "): another file, or the log is not whole");
        }
    }

    /// Append, then apply: what has changed a book is always in the log. `build` gives the event, right into its place there.
    template <class Build> void record(Build build)
    {
        if (!log_.is_open()) {
            last_ = build();
        } else {
            walrec::status status;
            walrec::event built;
            do {
                status = log_.emplace([&](walrec::event &place) { built = place = build(); });
                backpressure_ += status.code() == WALREC_E_BACKPRESSURE; // nothing was recorded: the disk is behind, try again
            } while (status.code() == WALREC_E_BACKPRESSURE);
            if (!status) { // not by `expect`, whose text would be made for each event
                expect(status, "appending the event after " + std::to_string(last_.event_id));
            }
            last_ = built;
            ++appended_;
            gate_.enter(last_.event_id);
            progress_->events_appended.store(appended_, std::memory_order_relaxed);
            progress_->last_event_id.store(last_.event_id, std::memory_order_release);
        }
        apply(last_, books_, counts_);
    }

    void close_log()
    {
        const uint64_t begin = now_ns();
        if (!gate_.drain(log_)) {
            expect(log_.sync(), "acknowledging the last events");
        }
        expect(log_.sync(), "making the last events durable");
        print("durable_event_id", log_.durable_event_id());
        print("sync_ns", now_ns() - begin);
        print("acknowledged", gate_.sent());
        print("acknowledged_event_id", gate_.last_sent());
        if (options_.acks == AckLevel::durable) {
            print("ack_lag_p50_ns", gate_.lag_ns(0.5));
            print("ack_lag_p99_ns", gate_.lag_ns(0.99));
            print("ack_lag_longest_ns", gate_.longest_lag_ns());
        }
        expect(log_.close(), "closing " + options_.log);
    }

    void print_result() const
    {
        const uint64_t events = counts_.new_limit + counts_.new_market + counts_.modify_price +
                                counts_.modify_quantity + counts_.cancel;
        print("messages", messages_);
        print("events", events);
        print("appended", appended_);
        print("backpressure", backpressure_);
        print("new_limit", counts_.new_limit);
        print("new_market", counts_.new_market);
        print("modify_price", counts_.modify_price);
        print("modify_quantity", counts_.modify_quantity);
        print("cancel", counts_.cancel);
        print("stale", counts_.stale);
        print("refused", counts_.refused);
        print("trades", books_.trades().count);
        print("volume", books_.trades().volume);
        print("orders", books_.orders());
        print("match_ns", match_ns_);
        const uint64_t matched = options_.no_log ? events : appended_;
        const double seconds = static_cast<double>(match_ns_) / 1e9;
        print("events_per_second", seconds > 0 ? static_cast<uint64_t>(static_cast<double>(matched) / seconds) : 0);
        std::printf("digest=%016" PRIx64 "\n", books_.digest());
        if (std::fflush(stdout) != 0) {
            throw RunError("standard output cannot be written");
        }
    }

    const Options &options_;
    ProgressFile progress_;
    OrderBooks books_;
    Counts counts_;
    walrec::recorder log_;
    OutboundGate gate_;
    walrec::open_report report_{};
    walrec::event last_{}; // applied last; event_id 0 = none
    uint64_t replayed_ = 0;
    uint64_t replayed_first_ = 0;
    uint64_t replayed_messages_ = 0;
    uint64_t messages_ = 0;
    uint64_t appended_ = 0;
    uint64_t backpressure_ = 0;
    uint64_t match_ns_ = 0;
};

/// False: help was asked for.
bool read_options(int argc, char **argv, Options &options)
{
    for (Arguments args(argc, argv); args.next();) {
        if (args.is("--help") || args.is("-h")) {
            return false;
        } else if (args.is("--log")) {
            options.log = args.value();
        } else if (args.is("--itch")) {
            options.itch = args.value();
        } else if (args.is("--lobster")) {
            options.lobster = args.value();
        } else if (args.is("--no-log")) {
            options.no_log = true;
        } else if (args.is("--digest-only")) {
            options.digest_only = true;
        } else if (args.is("--keep-hot")) {
            options.keep_hot = true;
        } else if (args.is("--acks")) {
            const std::string level = args.value();
            if (level != "appended" && level != "durable") {
                throw InputError("--acks is appended or durable, not " + level);
            }
            options.acks = level == "durable" ? AckLevel::durable : AckLevel::appended;
        } else if (args.is("--stop-after-message")) {
            options.stop_after_message = args.number(0, UINT64_MAX - 1);
        } else if (args.is("--num-blocks")) {
            options.num_blocks = args.number_u32(16, 131072);
        } else if (args.is("--stage-slots")) {
            options.stage_slots = args.number_u32(3, UINT32_MAX);
        } else if (args.is("--flush-interval-us")) {
            options.flush_interval_us = args.number_u32(1, UINT32_MAX);
        } else if (args.is("--progress-file")) {
            options.progress_file = args.value();
        } else {
            args.unknown();
        }
    }
    if (options.no_log == !options.log.empty()) {
        throw InputError("give either --log DIR or --no-log (see --help)");
    }
    if (options.digest_only && (options.no_log || !options.itch.empty() || !options.lobster.empty())) {
        throw InputError("--digest-only reads the log alone: give it --log and no feed");
    }
    if (!options.digest_only && options.itch.empty() == options.lobster.empty()) {
        throw InputError("give either --itch FILE or --lobster FILE (see --help)");
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
        Engine(options).run();
        return 0;
    } catch (const InputError &error) {
        std::fprintf(stderr, "engine: %s\n", error.what());
        return 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "engine: %s\n", error.what());
        return 1;
    }
}
