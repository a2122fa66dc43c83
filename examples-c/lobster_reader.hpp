// SPDX-License-Identifier: MIT OR Apache-2.0
//
// lobster_reader.hpp: reads a LOBSTER message file (CSV, one stock), plain or gzip, as a feed.
//
// Columns: seconds after midnight with a decimal fraction, type, order id, size, price x 10,000, direction (1 buy, -1
// sell: of the resting order). Types 1 new, 2 partial cancel, 3 delete, 4 execution of a visible order become
// requests; 5 hidden execution, 6 cross trade and 7 halt are counted and passed over. The instrument is 1. Columns
// beyond the sixth are ignored. Anything else is an error that names the line and the byte.
#pragma once

#include <cstring>

#include "byte_source.hpp"
#include "feed.hpp"

class LobsterReader final : public Feed {
public:
    explicit LobsterReader(const std::string &path) : source_(path) {}

    bool next(Message &message) override
    {
        if (!read_line()) {
            return false;
        }
        message = Message{};
        message.number = ++number_;
        size_t begin = 0;
        message.timestamp_ns = nanoseconds(column(begin, "time"));
        message.type = static_cast<uint8_t>('0' + number(column(begin, "type"), "type", 1, 7));
        message.reference = number(column(begin, "order id"), "order id", 0, UINT64_MAX);
        message.quantity = static_cast<int64_t>(number(column(begin, "size"), "size", 0, UINT32_MAX));
        std::string price = column(begin, "price");
        if (!price.empty() && price[0] == '-' && message.type == '7') {
            price.erase(0, 1); // a halt has -1, 0 or 1 where the price stands
        }
        message.price = static_cast<int64_t>(number(price, "price", 0, INT64_MAX));
        const std::string direction = column(begin, "direction");
        if (direction != "1" && direction != "-1") {
            fail("direction '" + printable(direction) + "' is neither 1 nor -1");
        }
        message.side = direction == "1" ? side_bid : side_ask;
        message.instrument = 1;
        switch (message.type) {
        case '1': message.action = Action::add; break;
        case '2': message.action = Action::reduce; break;
        case '3': message.action = Action::remove; break;
        case '4': message.action = Action::execute; break;
        default: break;
        }
        source_.consume(line_bytes_);
        return true;
    }

private:
    static constexpr size_t longest_line = 1024;

    /// Sets line_ without its end and line_bytes_ with it; false at the end of the file.
    bool read_line()
    {
        const uint8_t *at = source_.peek(longest_line);
        size_t left = longest_line;
        if (at == nullptr) {
            left = source_.available();
            at = source_.peek(left);
        }
        if (left == 0) {
            return false;
        }
        const void *end = std::memchr(at, '\n', left);
        if (end == nullptr && left == longest_line) {
            ++number_;
            fail("the line is longer than " + std::to_string(longest_line) + " bytes");
        }
        const size_t bytes = end == nullptr ? left : static_cast<size_t>(static_cast<const uint8_t *>(end) - at);
        line_bytes_ = bytes + (end == nullptr ? 0 : 1);
        line_.assign(reinterpret_cast<const char *>(at), bytes);
        if (!line_.empty() && line_.back() == '\r') {
            line_.pop_back();
        }
        return true;
    }

    std::string column(size_t &begin, const char *name)
    {
        if (begin > line_.size()) {
            fail(std::string("the line ends before the column ") + name);
        }
        const size_t comma = line_.find(',', begin);
        const size_t end = comma == std::string::npos ? line_.size() : comma;
        const std::string text = line_.substr(begin, end - begin);
        begin = end + 1;
        return text;
    }

    uint64_t number(const std::string &text, const char *name, uint64_t lowest, uint64_t highest) const
    {
        return parse_u64(text, place() + ": " + name, lowest, highest);
    }

    /// "34200.004241176" as nanoseconds, digit by digit: no floating point, nothing rounded.
    uint64_t nanoseconds(const std::string &text) const
    {
        const size_t point = text.find('.');
        const uint64_t seconds = number(text.substr(0, point), "seconds", 0, 1000000);
        std::string fraction = point == std::string::npos ? "" : text.substr(point + 1, 9);
        fraction.resize(9, '0');
        return seconds * 1000000000 + number(fraction, "fraction of a second", 0, 999999999);
    }

    std::string place() const { return source_.place() + ", line " + std::to_string(number_); }
    [[noreturn]] void fail(const std::string &what) const { throw InputError(place() + ": " + what); }

    ByteSource source_;
    std::string line_;
    size_t line_bytes_ = 0;
    uint64_t number_ = 0;
};
