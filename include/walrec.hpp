/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * walrec.hpp: walrec for C++17 and later. Header only, over walrec.h; see there for what every call promises. emplace() is compiled
 * into the caller by walrec_inline.h; with a library of another cursor layout it goes through the library, as there.
 *
 * Nothing here throws, allocates or prints: it is good under -fno-exceptions -fno-rtti. Handles are move-only and close
 * themselves; to see how a recorder ended, call close().
 *
 *     walrec::recorder log;
 *     if (walrec::status s = log.open("/var/lib/engine/wal"); !s)
 *         return die(walrec::last_error().c_str());
 *
 *     walrec::status s = log.emplace([&](walrec::event &e) {   // built in its place: the fastest way
 *         e = {};
 *         e.event_id = ++id;
 *         e.price = order.price;
 *     });
 *
 *     walrec::reader in;
 *     if (walrec::status s = in.open("/var/lib/engine/wal"); !s) ...
 *     for (const walrec::event &e : in)
 *         engine.replay(e);
 *     if (in.last_status() != WALREC_END) ...                  // why the loop ended
 */
#ifndef WALREC_HPP
#define WALREC_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "walrec.hpp needs C++17; walrec.h serves C99 and C++11"
#endif

#include "walrec_inline.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <utility>

#if __cplusplus >= 202002L
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_lib_expected
#include <expected>
#endif

namespace walrec {

/** One event, the 64 bytes of the file format. */
using event = walrec_event_t;
/** Structs of walrec.h under short names. @{ */
using open_report = walrec_open_report_t;
using meta_state = walrec_meta_state_t;
using gap = walrec_gap_t;
/** @} */

static_assert(sizeof(event) == 64 && alignof(event) == 8, "the record of the file format");
static_assert(std::is_trivial_v<event> && std::is_standard_layout_v<event>, "plain data");
static_assert(offsetof(event, event_id) == 0 && offsetof(event, timestamp_ns) == 8 && offsetof(event, price) == 16 &&
                  offsetof(event, quantity) == 24 && offsetof(event, user_id) == 32 && offsetof(event, order_id) == 36 &&
                  offsetof(event, type) == 40 && offsetof(event, order_type) == 41 && offsetof(event, side) == 42 &&
                  offsetof(event, user_bytes) == 43 && offsetof(event, guard) == 60,
              "the record of the file format");

/** What a call gave: a WALREC_ number. True means WALREC_OK. */
class [[nodiscard]] status {
public:
    constexpr status() noexcept = default;
    /** From what a function of walrec.h gave. */
    constexpr status(walrec_status_t code) noexcept : code_(code) {}
    /** A bool is no status: false would be WALREC_OK. */
    template <class Bool, std::enable_if_t<std::is_same_v<Bool, bool>, int> = 0> status(Bool) = delete;

    /** The number. */
    constexpr walrec_status_t code() const noexcept { return code_; }
    /** True for WALREC_OK alone. */
    constexpr explicit operator bool() const noexcept { return code_ == WALREC_OK; }
    /** Below 0: neither done nor the end nor a gap. */
    constexpr bool is_error() const noexcept { return code_ < 0; }
    /** Short and static. The long text of this thread's last failure is last_error(). */
    const char *text() const noexcept { return walrec_status_str(code_); }

    /** By number. @{ */
    friend constexpr bool operator==(status a, status b) noexcept { return a.code_ == b.code_; }
    friend constexpr bool operator!=(status a, status b) noexcept { return a.code_ != b.code_; }
    /** @} */

private:
    walrec_status_t code_ = WALREC_OK;
};

/** The text of this thread's last failed call, cut at 511 bytes. */
class error_text {
public:
    error_text() noexcept { walrec_last_error(text_, sizeof text_); }
    /** Terminated; lives as long as this object. */
    const char *c_str() const noexcept { return text_; }

private:
    char text_[512];
};

/** See error_text. */
[[nodiscard]] inline error_text last_error() noexcept { return {}; }

namespace detail {
/** By walrec_abi_version and walrec_version_number. Before 1.0 a minor version may change the interface under the same number. */
constexpr bool fits(std::uint32_t abi, std::uint32_t version) noexcept
{
    constexpr std::uint32_t patches = WALREC_VERSION_MAJOR == 0 ? 100 : 10000;
    return abi == WALREC_ABI_VERSION && version / patches == WALREC_VERSION_NUMBER / patches;
}
} // namespace detail

/** Whether the library that was loaded is one that this header may be used with: see docs/ABI.md. */
[[nodiscard]] inline bool library_fits() noexcept { return detail::fits(walrec_abi_version(), walrec_version_number()); }

/** The defaults; change what is to differ. */
struct config : walrec_config_t {
    config() noexcept { (void)walrec_config_init(this, sizeof(walrec_config_t)); }
};

namespace detail {
/** The cursor of a recorder that is not open: each call on it goes through the library. Never stored to. */
inline walrec_cursor_t no_cursor{};
/** What its watermarks are. */
inline constexpr walrec_watermarks_t no_watermarks{};
} // namespace detail

/**
 * A recorder; one append thread, as walrec.h says. Empty until open() succeeds; every call on an empty one gives WALREC_E_INVALID,
 * and every id is 0.
 */
class recorder {
public:
    recorder() noexcept = default;
    /** Takes over a handle from walrec_open. */
    explicit recorder(walrec_t *handle) noexcept { hold(handle); }
    /** The handle moves; one that was open here is closed. @{ */
    recorder(recorder &&other) noexcept : recorder() { swap(other); }
    recorder &operator=(recorder &&other) noexcept
    {
        if (this != &other) {
            (void)close();
            swap(other);
        }
        return *this;
    }
    /** @} */
    recorder(const recorder &) = delete;
    recorder &operator=(const recorder &) = delete;
    ~recorder() { (void)close(); }

    /**
     * Opens, recovers, starts the workers. On a recorder that is open: WALREC_E_INVALID, it stays as it is, and last_error() says that
     * out is NULL: there is no place for a second handle.
     */
    status open(const char *dir, const config &how = {}) noexcept
    {
        if (handle_ != nullptr)
            return walrec_open(dir, &how, nullptr);
        walrec_t *opened = nullptr;
        const walrec_status_t s = walrec_open(dir, &how, &opened);
        if (s == WALREC_OK)
            hold(opened);
        return s;
    }
    /** Whether there is a handle. */
    bool is_open() const noexcept { return handle_ != nullptr; }

    /**
     * Appends an event that `fill(event &)` builds in its place. What is there before is unspecified, so fill sets every field but
     * guard. If it throws, nothing is recorded.
     */
    template <class Fill> status emplace(Fill &&fill) noexcept(std::is_nothrow_invocable_v<Fill, event &>)
    {
        static_assert(std::is_invocable_v<Fill, event &>, "emplace takes a callable of walrec::event &");
        event *place = nullptr;
        if (const walrec_status_t refused = walrec_reserve_inline(handle_, cursor_, &place); refused != WALREC_OK)
            return refused;
        reservation open{handle_, cursor_};
        std::forward<Fill>(fill)(*place);
        return open.commit();
    }
    /** Appends a copy. */
    status append(const event &e) noexcept { return walrec_append(handle_, &e); }
    /** Appends a prefix; `done` receives its length. */
    status append(const event *events, std::size_t n, std::size_t *done = nullptr) noexcept
    {
        return walrec_append_batch(handle_, events, n, done);
    }
#ifdef __cpp_lib_span
    /** The same for a span. */
    status append(std::span<const event> events, std::size_t *done = nullptr) noexcept
    {
        return append(events.data(), events.size(), done);
    }
#endif

    /** As the function of walrec.h with this name. @{ */
    status rotate() noexcept { return walrec_rotate(handle_); }
    status attach_thread() noexcept { return walrec_attach_thread(handle_); }

    std::uint64_t last_event_id() const noexcept { return walrec_last_event_id(handle_); }
    std::uint64_t durable_event_id() const noexcept { return walrec_durable_event_id(handle_); }
    /** @} */

    /** Both ids by address, each one load: for a loop that looks at them often. */
    class watermarks_view {
    public:
        /** Of what walrec_watermarks gave; NULL reads as zeros. */
        explicit watermarks_view(const walrec_watermarks_t *words) noexcept : words_(words != nullptr ? words : &detail::no_watermarks) {}
        /** The id, by one load. @{ */
        std::uint64_t appended() const noexcept { return load(words_->appended_event_id); }
        std::uint64_t durable() const noexcept { return load(words_->durable_event_id); }
        /** @} */

    private:
        static std::uint64_t load(const std::uint64_t &word) noexcept { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
        const walrec_watermarks_t *words_;
    };
    /** Until the recorder is closed; of an empty one, zeros. */
    watermarks_view watermarks() const noexcept { return watermarks_view(walrec_watermarks(handle_)); }
    /** Rings `fd`, an eventfd that does not block, once, when `event_id` is durable or never will be; 0 = everything appended so far. */
    status notify_durable(std::uint64_t event_id, int fd) noexcept { return walrec_notify_durable(handle_, event_id, fd); }

    /** Waits until `event_id` is durable, without limit; 0 is everything appended so far. */
    status sync(std::uint64_t event_id = 0) noexcept { return walrec_sync(handle_, event_id, UINT64_MAX); }
    /** The same with a limit; 0 or less only wakes the flusher. */
    status sync(std::uint64_t event_id, std::chrono::nanoseconds limit) noexcept
    {
        return walrec_sync(handle_, event_id, limit.count() > 0 ? static_cast<std::uint64_t>(limit.count()) : 0);
    }
    /** As the function of walrec.h with this name, or near it; struct_size is set here. @{ */
    status set_retention_floor(std::uint64_t event_id) noexcept { return walrec_set_retention_floor(handle_, event_id); }

    status report(open_report &out) const noexcept
    {
        out.struct_size = sizeof out;
        return walrec_open_report(handle_, &out);
    }
    status meta(meta_state &out) const noexcept { return walrec_meta_state(handle_, &out); }
    status telemetry(walrec_telemetry_t &out) const noexcept
    {
        out.struct_size = sizeof out;
        return walrec_telemetry(handle_, &out);
    }
    status telemetry_text(std::int32_t format, char *text, std::size_t n, std::size_t *needed = nullptr) const noexcept
    {
        return walrec_telemetry_text(handle_, format, text, n, needed);
    }
    /** @} */

    /** Makes everything durable and joins the workers; later calls give WALREC_E_CLOSED. */
    status shutdown() noexcept { return walrec_shutdown(handle_); }
    /** Shuts down and frees: always, whatever it gives. OK when there is nothing to close. */
    status close() noexcept { return walrec_close(release()); }

    /** The handle, which stays this recorder's. */
    walrec_t *get() const noexcept { return handle_; }
    /** The handle, which is the caller's now. */
    [[nodiscard]] walrec_t *release() noexcept
    {
        cursor_ = &detail::no_cursor;
        return std::exchange(handle_, nullptr);
    }

private:
    void hold(walrec_t *handle) noexcept
    {
        handle_ = handle;
        if (handle != nullptr)
            cursor_ = walrec_inline_cursor(handle);
    }
    void swap(recorder &other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(cursor_, other.cursor_);
    }

    /** Dropped unless it was committed: when the callable throws. */
    class reservation {
    public:
        reservation(walrec_t *handle, walrec_cursor_t *cursor) noexcept : handle_(handle), cursor_(cursor) {}
        reservation(const reservation &) = delete;
        reservation &operator=(const reservation &) = delete;
        ~reservation()
        {
            if (handle_ != nullptr)
                (void)walrec_abort(handle_);
        }
        walrec_status_t commit() noexcept { return walrec_commit_inline(std::exchange(handle_, nullptr), cursor_); }

    private:
        walrec_t *handle_;
        walrec_cursor_t *cursor_;
    };

    walrec_t *handle_ = nullptr;
    walrec_cursor_t *cursor_ = &detail::no_cursor;
};

/** A reader; one thread at a time. It reads ahead 64 events of its own. */
class reader {
public:
    class iterator;
    /** What a loop ends at. */
    struct sentinel {};

    reader() noexcept = default;
    /** The handle moves, with what was read ahead; one that was open here is closed. @{ */
    reader(reader &&other) noexcept { take(other); }
    reader &operator=(reader &&other) noexcept
    {
        if (this != &other) {
            close();
            take(other);
        }
        return *this;
    }
    /** @} */
    reader(const reader &) = delete;
    reader &operator=(const reader &) = delete;
    ~reader() { close(); }

    /**
     * Opens the log at `from_event_id`, 0 = the oldest; flags: 0 or WALREC_FLAG_SALVAGE. On an open reader: WALREC_E_INVALID, as of a
     * recorder.
     */
    status open(const char *dir, std::uint64_t from_event_id = 0, std::uint32_t flags = 0) noexcept
    {
        if (handle_ != nullptr)
            return last_ = walrec_reader_open(dir, from_event_id, flags, nullptr);
        return last_ = walrec_reader_open(dir, from_event_id, flags, &handle_);
    }
    /** Whether there is a handle. */
    bool is_open() const noexcept { return handle_ != nullptr; }

    /** The next event, or why there is none: END, GAP, an error. */
    status next(event &out) noexcept
    {
        const event *one = advance();
        if (one != nullptr)
            out = *one;
        return last_;
    }
    /** What the last step gave. After a loop: WALREC_END if all went well, WALREC_GAP to look at gap() and loop again. */
    status last_status() const noexcept { return last_; }

    /** As the function of walrec.h with this name; struct_size is set here. Where a seek fails, reading goes on as without it. @{ */
    status seek(std::uint64_t event_id) noexcept { return moved(walrec_reader_seek(handle_, event_id)); }
    status seek_time(std::uint64_t timestamp_ns) noexcept { return moved(walrec_reader_seek_time(handle_, timestamp_ns)); }
    status last_gap(gap &out) const noexcept
    {
        out.struct_size = sizeof out;
        return walrec_reader_gap(handle_, &out);
    }
    status telemetry(walrec_reader_telemetry_t &out) const noexcept
    {
        out.struct_size = sizeof out;
        return walrec_reader_telemetry(handle_, &out);
    }
    status telemetry_text(std::int32_t format, char *text, std::size_t n, std::size_t *needed = nullptr) const noexcept
    {
        return walrec_reader_telemetry_text(handle_, format, text, n, needed);
    }
    /** @} */

    /** Goes on where reading stands: a second loop continues, also behind an END that a recorder has moved. */
    iterator begin() noexcept;
    /** What begin() is compared with. */
    sentinel end() const noexcept { return {}; }

    /** Closes; does nothing where nothing is open. */
    void close() noexcept
    {
        drop();
        walrec_reader_close(std::exchange(handle_, nullptr));
    }
    /** The handle, which stays this reader's. */
    walrec_reader_t *get() const noexcept { return handle_; }

private:
    const event *advance() noexcept
    {
        if (at_ == held_) {
            drop();
            last_ = walrec_reader_read(handle_, events_.data(), events_.size(), &held_);
            if (!last_) {
                held_ = 0;
                return nullptr;
            }
        }
        last_ = WALREC_OK;
        return &events_[at_++];
    }
    void drop() noexcept { at_ = held_ = 0; }
    /** What was read ahead is what comes next until a seek has moved the reader below it. */
    status moved(status s) noexcept
    {
        if (s)
            drop();
        return last_ = s;
    }
    void take(reader &other) noexcept
    {
        handle_ = std::exchange(other.handle_, nullptr);
        last_ = other.last_;
        at_ = other.at_;
        held_ = other.held_;
        for (std::size_t place = at_; place < held_; place++)
            events_[place] = other.events_[place];
        other.drop();
    }

    walrec_reader_t *handle_ = nullptr;
    status last_ = WALREC_OK;
    std::size_t at_ = 0;
    std::size_t held_ = 0;
    std::array<event, 64> events_;
};

/** An input iterator: the event is valid until the next step. */
class reader::iterator {
public:
    /** What the standard library asks of an iterator. @{ */
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    using pointer = const event *;
    using reference = const event &;

    explicit iterator(reader &in) noexcept : in_(&in), event_(in.advance()) {}
    reference operator*() const noexcept { return *event_; }
    pointer operator->() const noexcept { return event_; }
    iterator &operator++() noexcept
    {
        event_ = in_->advance();
        return *this;
    }
    void operator++(int) noexcept { ++*this; }
    friend bool operator==(const iterator &here, sentinel) noexcept { return here.event_ == nullptr; }
    friend bool operator!=(const iterator &here, sentinel) noexcept { return here.event_ != nullptr; }
    /** @} */

private:
    reader *in_;
    const event *event_;
};

inline reader::iterator reader::begin() noexcept { return iterator(*this); }

/** Checks a whole log. */
inline status verify(const char *dir, walrec_verify_report_t &out) noexcept
{
    out.struct_size = sizeof out;
    return walrec_verify(dir, &out);
}

#ifdef __cpp_lib_expected
/** An open recorder, or why there is none. */
inline std::expected<recorder, status> open(const char *dir, const config &how = {}) noexcept
{
    recorder opened;
    if (const status s = opened.open(dir, how); !s)
        return std::unexpected(s);
    return opened;
}
/** An open reader, or why there is none. */
inline std::expected<reader, status> read(const char *dir, std::uint64_t from_event_id = 0, std::uint32_t flags = 0) noexcept
{
    reader opened;
    if (const status s = opened.open(dir, from_event_id, flags); !s)
        return std::unexpected(s);
    return opened;
}
#endif

} // namespace walrec

#endif /* WALREC_HPP */
