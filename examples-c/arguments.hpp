// SPDX-License-Identifier: MIT OR Apache-2.0
//
// arguments.hpp: the command line of the example programs, read strictly.
//
// Options are `--name value` or `--name`; nothing is guessed. Whatever a person gave wrongly (an option, a number, a
// file's content) is an InputError: the program prints its text, which names the place, and ends with exit code 2.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

/// Something given from outside is wrong; the text says what and where.
struct InputError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A step failed through no fault of the input (the log, the operating system, a child process).
struct RunError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// For errors that quote a file: short, and safe on a terminal.
inline std::string printable(const std::string &text)
{
    std::string shown = text.substr(0, 40);
    for (char &c : shown) {
        c = c >= ' ' && c <= '~' ? c : '?';
    }
    return text.size() > 40 ? shown + "..." : shown;
}

/// Whole text as a decimal number within [lowest, highest]; `what` names the place in the error.
inline uint64_t parse_u64(const std::string &text, const std::string &what, uint64_t lowest, uint64_t highest)
{
    uint64_t value = 0;
    bool good = !text.empty();
    for (const char c : text) {
        const uint64_t digit = static_cast<uint64_t>(c - '0');
        if (c < '0' || c > '9' || value > (UINT64_MAX - digit) / 10) {
            good = false;
            break;
        }
        value = value * 10 + digit;
    }
    if (!good || value < lowest || value > highest) {
        throw InputError(what + ": '" + printable(text) + "' is not a number from " + std::to_string(lowest) + " to " +
                         std::to_string(highest));
    }
    return value;
}

/// Walks over argv: `while (args.next()) { if (args.is("--seed")) seed = args.number(0, UINT64_MAX); ... }`.
class Arguments {
public:
    Arguments(int argc, char **argv) : argc_(argc), argv_(argv) {}

    bool next()
    {
        if (++at_ >= argc_) {
            return false;
        }
        name_ = argv_[at_];
        return true;
    }

    bool is(const char *name) const { return name_ == name; }
    bool is_option() const { return name_.size() > 1 && name_[0] == '-'; }
    const std::string &text() const { return name_; }

    std::string value()
    {
        if (at_ + 1 >= argc_) {
            throw InputError("option " + name_ + " needs a value");
        }
        return argv_[++at_];
    }

    uint64_t number(uint64_t lowest, uint64_t highest)
    {
        const std::string name = name_;
        return parse_u64(value(), "option " + name, lowest, highest);
    }

    uint32_t number_u32(uint32_t lowest, uint32_t highest) { return static_cast<uint32_t>(number(lowest, highest)); }

    [[noreturn]] void unknown() const { throw InputError("unknown argument '" + name_ + "' (see --help)"); }

private:
    int argc_;
    char **argv_;
    int at_ = 0;
    std::string name_;
};
