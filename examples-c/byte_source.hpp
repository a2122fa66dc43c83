// SPDX-License-Identifier: MIT OR Apache-2.0
//
// byte_source.hpp: a file as a stream of bytes, plain or gzip, never held whole.
//
// A gzip file is known by its first two bytes (1f 8b), not by its name, and is decompressed by a child `gzip -dc`:
// started without a shell, the file as its standard input, its output through a pipe. No temporary file, no zlib. A
// gzip that fails, and a file that cannot be read, are errors that name the file and the offset.
//
// Open it before walrec_open: the fork then happens before the recorder's threads and locks exist.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.hpp"

class ByteSource {
public:
    explicit ByteSource(const std::string &path) : path_(path), buffer_(buffer_bytes)
    {
        file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat state {};
        if (file_ < 0 || ::fstat(file_, &state) != 0) {
            fail_system("cannot be opened");
        }
        if (S_ISDIR(state.st_mode)) {
            close_all();
            throw InputError(path_ + ": is a directory");
        }
        uint8_t magic[2] = {0, 0};
        const bool is_gzip = ::pread(file_, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
        if (is_gzip) {
            start_gzip();
        } else {
            input_ = file_;
        }
    }

    ~ByteSource() { close_all(); }
    ByteSource(const ByteSource &) = delete;
    ByteSource &operator=(const ByteSource &) = delete;

    /// The next n bytes (n <= 64 KiB) without taking them, or nullptr if the stream ends before; available() then
    /// says how many are left. Valid until the next call.
    const uint8_t *peek(size_t n)
    {
        if (end_ - begin_ < n) {
            refill(n);
        }
        return end_ - begin_ >= n ? buffer_.data() + begin_ : nullptr;
    }

    void consume(size_t n)
    {
        begin_ += n;
        offset_ += n;
    }

    size_t available() const { return end_ - begin_; }
    const std::string &path() const { return path_; }

    /// Where the next byte stands, as errors name it: in the file, or in what gzip made of it.
    std::string place(uint64_t behind = 0) const
    {
        return path_ + ": byte " + std::to_string(offset_ + behind) + (gzip_ != 0 ? " (decompressed)" : "");
    }

private:
    static constexpr size_t buffer_bytes = size_t{1} << 20;

    void refill(size_t n)
    {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        while (end_ < n && !finished_) {
            const ssize_t got = ::read(input_, buffer_.data() + end_, buffer_.size() - end_);
            if (got > 0) {
                end_ += static_cast<size_t>(got);
            } else if (got == 0) {
                finished_ = true;
                if (gzip_ != 0) {
                    finish_gzip();
                }
            } else if (errno != EINTR) {
                fail_system("cannot be read");
            }
        }
    }

    void start_gzip()
    {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            fail_system("no pipe to gzip");
        }
        gzip_ = ::fork();
        if (gzip_ < 0) {
            ::close(ends[0]);
            ::close(ends[1]);
            gzip_ = 0;
            fail_system("gzip cannot be started");
        }
        if (gzip_ == 0) {
            char name[] = "gzip";
            char option[] = "-dc";
            char *const argv[] = {name, option, nullptr};
            if (::dup2(file_, STDIN_FILENO) >= 0 && ::dup2(ends[1], STDOUT_FILENO) >= 0) {
                ::execvp(name, argv);
            }
            ::_exit(127);
        }
        ::close(ends[1]);
        input_ = ends[0];
    }

    /// gzip has written its last byte: only its exit code tells whether that was all of the file.
    void finish_gzip()
    {
        const int status = wait_gzip();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
            std::fprintf(stderr, "%s: gzip gave a warning, going on\n", path_.c_str());
            return;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            return;
        }
        // The child read through the same open file: its position is how far gzip came.
        const long long read_to = static_cast<long long>(::lseek(file_, 0, SEEK_CUR));
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
            throw InputError(path_ + ": is a gzip file, but the program gzip cannot be started");
        }
        const std::string how = WIFEXITED(status) ? "failed with exit code " + std::to_string(WEXITSTATUS(status))
                                                  : "was killed by signal " + std::to_string(WTERMSIG(status));
        throw InputError(path_ + ": gzip " + how + " at byte " + std::to_string(read_to) + ", after " +
                         std::to_string(offset_ + available()) +
                         " decompressed bytes: the file is truncated or damaged");
    }

    int wait_gzip()
    {
        int status = 0;
        while (::waitpid(gzip_, &status, 0) < 0 && errno == EINTR) {
        }
        reaped_ = true;
        return status;
    }

    [[noreturn]] void fail_system(const char *what)
    {
        const std::string text = path_ + ": " + what + " at byte " + std::to_string(offset_ + available()) + ": " +
                                 std::strerror(errno);
        close_all();
        throw InputError(text);
    }

    void close_all()
    {
        if (input_ >= 0 && input_ != file_) {
            ::close(input_); // a gzip still writing ends by SIGPIPE
        }
        if (file_ >= 0) {
            ::close(file_);
        }
        input_ = file_ = -1;
        if (gzip_ > 0 && !reaped_) {
            wait_gzip();
        }
    }

    std::string path_;
    std::vector<uint8_t> buffer_;
    size_t begin_ = 0;
    size_t end_ = 0;
    uint64_t offset_ = 0;
    int file_ = -1;
    int input_ = -1;
    pid_t gzip_ = 0;
    bool reaped_ = false;
    bool finished_ = false;
};
