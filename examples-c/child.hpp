// SPDX-License-Identifier: MIT OR Apache-2.0
//
// child.hpp: one child program whose key=value lines are read, and which can be killed at any moment.
//
// Started without a shell; standard output comes through a pipe, standard error is shared. The child dies with its
// parent, so that an interrupted driver leaves nothing running.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.hpp"

class Child {
public:
    explicit Child(const std::vector<std::string> &command) : name_(command.front())
    {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            throw RunError(name_ + ": no pipe: " + std::strerror(errno));
        }
        std::vector<char *> argv;
        for (const std::string &word : command) {
            argv.push_back(const_cast<char *>(word.c_str()));
        }
        argv.push_back(nullptr);
        const pid_t parent = ::getpid();
        pid_ = ::fork();
        if (pid_ < 0) {
            ::close(ends[0]);
            ::close(ends[1]);
            throw RunError(name_ + ": cannot be started: " + std::strerror(errno));
        }
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() == parent && ::dup2(ends[1], STDOUT_FILENO) >= 0) {
                ::execvp(argv[0], argv.data());
            }
            ::_exit(127);
        }
        ::close(ends[1]);
        output_ = ends[0];
    }

    ~Child()
    {
        if (!ended_) {
            kill();
            wait();
        }
        ::close(output_);
    }
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;

    void kill() { ::kill(pid_, SIGKILL); }

    /// Reads what there is and tells whether the child has ended. Does not wait.
    bool ended()
    {
        while (!ended_) {
            pollfd ready{output_, POLLIN, 0};
            if (::poll(&ready, 1, 0) <= 0) {
                return false;
            }
            read_some();
        }
        return true;
    }

    /// Reads to the end and collects the exit status.
    void wait()
    {
        while (!ended_) {
            read_some();
        }
    }

    bool was_killed() const { return WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL; }
    bool succeeded() const { return WIFEXITED(status_) && WEXITSTATUS(status_) == 0; }

    std::string outcome() const
    {
        if (WIFSIGNALED(status_)) {
            return name_ + " was ended by signal " + std::to_string(WTERMSIG(status_));
        }
        return WEXITSTATUS(status_) == 127 ? name_ + " cannot be started"
                                           : name_ + " ended with exit code " + std::to_string(WEXITSTATUS(status_));
    }

    bool has(const std::string &key) const { return lines_.count(key) != 0; }

    std::string text(const std::string &key) const
    {
        const auto line = lines_.find(key);
        if (line == lines_.end()) {
            throw RunError(name_ + " did not print " + key);
        }
        return line->second;
    }

    uint64_t number(const std::string &key) const { return parse_u64(text(key), name_ + ": " + key, 0, UINT64_MAX); }

private:
    /// The end of the pipe comes with the child's death: nothing else holds its other end.
    void read_some()
    {
        char bytes[4096];
        const ssize_t got = ::read(output_, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) {
            return;
        }
        if (got > 0) {
            partial_.append(bytes, static_cast<size_t>(got));
            for (size_t end; (end = partial_.find('\n')) != std::string::npos; partial_.erase(0, end + 1)) {
                const size_t equals = partial_.find('=');
                if (equals < end) {
                    lines_[partial_.substr(0, equals)] = partial_.substr(equals + 1, end - equals - 1);
                }
            }
            return;
        }
        while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
        }
        ended_ = true;
    }

    std::string name_;
    pid_t pid_ = -1;
    int output_ = -1;
    int status_ = 0;
    bool ended_ = false;
    std::string partial_;
    std::map<std::string, std::string> lines_;
};
