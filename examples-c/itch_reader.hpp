// SPDX-License-Identifier: MIT OR Apache-2.0
//
// itch_reader.hpp: reads a TotalView-ITCH 5.0 file, plain or gzip, as a feed.
//
// A length that does not fit the message's type, a side that is neither B nor S, and a file that ends inside a
// message are errors that name the byte. A length of zero ends the session (BinaryFILE) and must be the file's last.
// Types that ITCH 5.0 does not have are counted and passed over.
#pragma once

#include "byte_source.hpp"
#include "feed.hpp"
#include "itch_format.hpp"

class ItchReader final : public Feed {
public:
    explicit ItchReader(const std::string &path) : source_(path) {}

    bool next(Message &message) override
    {
        const uint8_t *at = source_.peek(2);
        if (at == nullptr) {
            if (source_.available() != 0) {
                throw InputError(source_.place() + ": the file ends inside a length field (after message " +
                                 std::to_string(number_) + ")");
            }
            return false;
        }
        const unsigned bytes = itch::get_u16(at);
        if (bytes == 0) {
            if (source_.peek(3) != nullptr) {
                throw InputError(source_.place() + ": length 0 in the middle of the file (after message " +
                                 std::to_string(number_) + ")");
            }
            return false;
        }
        at = source_.peek(2 + bytes);
        ++number_;
        if (at == nullptr) {
            throw InputError(source_.place() + ": message " + std::to_string(number_) + " has length " +
                             std::to_string(bytes) + ", but only " + std::to_string(source_.available() - 2) +
                             " bytes follow: the file is truncated");
        }
        decode(at + 2, bytes, message);
        source_.consume(2 + bytes);
        return true;
    }

private:
    void decode(const uint8_t *at, unsigned bytes, Message &message)
    {
        message = Message{};
        message.number = number_;
        message.type = at[0];
        const unsigned expected = itch::message_bytes(at[0]);
        if (expected == 0) {
            return;
        }
        if (bytes != expected) {
            throw InputError(source_.place() + ": message " + std::to_string(number_) + " of type '" +
                             std::string(1, static_cast<char>(at[0])) + "' has length " + std::to_string(bytes) +
                             " instead of " + std::to_string(expected));
        }
        message.instrument = itch::get_u16(at + itch::locate_at);
        message.timestamp_ns = itch::get_u48(at + itch::timestamp_at);
        if (bytes >= itch::reference_at + 8) {
            message.reference = itch::get_u64(at + itch::reference_at); // only read where action is not none
        }
        switch (at[0]) {
        case 'F':
            message.user_id = itch::get_u32(at + itch::add_participant_at);
            [[fallthrough]];
        case 'A':
            message.action = Action::add;
            message.side = side(at[itch::add_side_at]);
            message.quantity = itch::get_u32(at + itch::add_shares_at);
            message.price = itch::get_u32(at + itch::add_price_at);
            break;
        case 'E':
        case 'C':
            message.action = Action::execute;
            message.quantity = itch::get_u32(at + itch::shares_at);
            break;
        case 'X':
            message.action = Action::reduce;
            message.quantity = itch::get_u32(at + itch::shares_at);
            break;
        case 'D':
            message.action = Action::remove;
            break;
        case 'U':
            message.action = Action::replace;
            message.new_reference = itch::get_u64(at + itch::new_reference_at);
            message.quantity = itch::get_u32(at + itch::new_shares_at);
            message.price = itch::get_u32(at + itch::new_price_at);
            break;
        default:
            break;
        }
    }

    uint8_t side(uint8_t letter) const
    {
        if (letter != 'B' && letter != 'S') {
            throw InputError(source_.place(2 + itch::add_side_at) + ": message " + std::to_string(number_) +
                             " has side " + std::to_string(letter) + " instead of 'B' or 'S'");
        }
        return letter == 'B' ? side_bid : side_ask;
    }

    ByteSource source_;
    uint64_t number_ = 0;
};
