// SPDX-License-Identifier: MIT OR Apache-2.0
//
// gate.hpp: what the engine tells the world about an event leaves only when the event has reached a chosen level: appended
// (kill -9 does not undo it any more) or durable (nor does the loss of power).
//
// Appended is reached with the append, so nothing waits. Durable comes later: acknowledgements wait in a ring, and each look at the
// recorder's durable id, one load from a line that the append path never touches, lets a row of them go. An engine that has nothing else
// to do waits for the rest by an eventfd, which an epoll loop can have among its other descriptors.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <unistd.h>
#include <vector>

#include "arguments.hpp"
#include "walrec.hpp"

enum class AckLevel { appended, durable };

class OutboundGate {
public:
    explicit OutboundGate(AckLevel level) : level_(level) {}

    /// The event was appended: its acknowledgement leaves now, or waits.
    void enter(uint64_t event_id)
    {
        if (level_ == AckLevel::appended) {
            ++sent_;
            last_sent_ = event_id;
            return;
        }
        // The time of one in so many: taking it costs more than all the rest here.
        waiting_.push_back({event_id, ++entered_ % sample == 0 ? now_ns() : 0});
    }

    /// Lets go what has reached the level. Call it often.
    void poll(const walrec::recorder &log)
    {
        if (begin_ == waiting_.size()) {
            return;
        }
        const uint64_t durable = log.watermarks().durable();
        if (waiting_[begin_].event_id > durable) {
            return;
        }
        const uint64_t now = now_ns();
        while (begin_ < waiting_.size() && waiting_[begin_].event_id <= durable) {
            send(waiting_[begin_++], now);
        }
        if (begin_ * 2 >= waiting_.size()) {
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(begin_));
            begin_ = 0;
        }
    }

    /// Waits until all have left; false when the recorder failed before the last of them became durable.
    bool drain(walrec::recorder &log)
    {
        const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (descriptor < 0) {
            throw RunError(std::string("eventfd: ") + std::strerror(errno));
        }
        for (poll(log); begin_ < waiting_.size(); poll(log)) {
            const uint64_t last = waiting_.back().event_id;
            // Rung at once when it is durable by now, and also when it cannot become so any more.
            if (!log.notify_durable(last, descriptor) || !is_rung(descriptor) ||
                log.durable_event_id() < last) {
                break;
            }
        }
        ::close(descriptor);
        return begin_ == waiting_.size();
    }

    uint64_t sent() const { return sent_; }
    uint64_t last_sent() const { return last_sent_; }
    /// From the append to the acknowledgement, in nanoseconds, of those that were timed; a bound that `share` of them kept.
    uint64_t lag_ns(double share) const
    {
        uint64_t all = 0, seen = 0;
        for (const uint64_t count : lags_) {
            all += count;
        }
        for (std::size_t bit = 0; bit < lags_.size(); ++bit) {
            seen += lags_[bit];
            if (all > 0 && static_cast<double>(seen) >= share * static_cast<double>(all)) {
                return std::min(UINT64_C(2) << bit, longest_);
            }
        }
        return 0;
    }
    uint64_t longest_lag_ns() const { return longest_; }

private:
    struct Waiting {
        uint64_t event_id;
        uint64_t since_ns; // 0 = not timed
    };

    static constexpr uint64_t sample = 64;

    static uint64_t now_ns()
    {
        const auto since = std::chrono::steady_clock::now().time_since_epoch();
        return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
    }

    static bool is_rung(int descriptor)
    {
        pollfd one{descriptor, POLLIN, 0};
        while (::poll(&one, 1, -1) < 0) {
            if (errno != EINTR) {
                return false;
            }
        }
        uint64_t rings = 0;
        return ::read(descriptor, &rings, sizeof rings) == sizeof rings;
    }

    void send(const Waiting &one, uint64_t now)
    {
        ++sent_;
        last_sent_ = one.event_id;
        if (one.since_ns != 0) {
            const uint64_t lag = std::max<uint64_t>(now - one.since_ns, 1);
            ++lags_[static_cast<std::size_t>(63 - __builtin_clzll(lag))];
            longest_ = std::max(longest_, lag);
        }
    }

    AckLevel level_;
    std::vector<Waiting> waiting_;
    std::size_t begin_ = 0; // of those that still wait
    std::array<uint64_t, 64> lags_{}; // by the power of two below
    uint64_t longest_ = 0;
    uint64_t entered_ = 0;
    uint64_t sent_ = 0;
    uint64_t last_sent_ = 0;
};
