// SPDX-License-Identifier: MIT OR Apache-2.0
//
// progress.hpp: one page that the engine writes and its driver reads while both run, and after the engine was killed.
//
// A file mapped shared: stores into it outlive the process at once, which makes it a fair witness of what was appended
// before a kill. The driver gives a file in memory (memfd); a file on a disk works, but its pages are written back.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.hpp"

enum class Phase : uint64_t { opening = 0, replaying = 1, matching = 2, done = 3 };

/// Written by the engine's thread alone. last_event_id and events_appended are stored after walrec_append
/// returned OK, so each is a lower bound of what a later open must find.
struct Progress {
    std::atomic<uint64_t> phase{0};
    std::atomic<uint64_t> messages_done{0};
    std::atomic<uint64_t> events_appended{0}; // by this process
    std::atomic<uint64_t> events_replayed{0};
    std::atomic<uint64_t> last_event_id{0};   // appended by this process; 0 = none

    void set(Phase value) { phase.store(static_cast<uint64_t>(value), std::memory_order_release); }
    Phase get() const { return static_cast<Phase>(phase.load(std::memory_order_acquire)); }
};
static_assert(std::atomic<uint64_t>::is_always_lock_free, "a lock would not be shared between processes");

class ProgressFile {
public:
    /// An empty path gives a page nobody else sees.
    explicit ProgressFile(const std::string &path)
    {
        const int fd = path.empty() ? -1 : ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (!path.empty() && fd < 0) {
            throw InputError(path + ": cannot be opened for the progress: " + std::strerror(errno));
        }
        map(fd, path);
        if (fd >= 0) {
            ::close(fd);
        }
    }

    /// The driver's side: an open file.
    explicit ProgressFile(int fd) { map(fd, "progress"); }

    ~ProgressFile() { ::munmap(progress_, page_bytes); }
    ProgressFile(const ProgressFile &) = delete;
    ProgressFile &operator=(const ProgressFile &) = delete;

    Progress &operator*() const { return *progress_; }
    Progress *operator->() const { return progress_; }

private:
    static constexpr size_t page_bytes = 4096;

    void map(int fd, const std::string &name)
    {
        struct stat state {};
        void *page = MAP_FAILED;
        if (fd < 0) {
            page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        } else if (::fstat(fd, &state) == 0 &&
                   (state.st_size >= static_cast<off_t>(page_bytes) || ::ftruncate(fd, page_bytes) == 0)) {
            page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        if (page == MAP_FAILED) {
            throw RunError(name + ": cannot be mapped: " + std::strerror(errno));
        }
        progress_ = new (page) Progress;
    }

    Progress *progress_ = nullptr;
};
