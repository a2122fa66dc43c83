// SPDX-License-Identifier: MIT OR Apache-2.0
//
// feed.hpp: what the readers give the engine: one message at a time, whatever file it came from.
#pragma once

#include <cstdint>

constexpr uint8_t side_bid = 0;
constexpr uint8_t side_ask = 1;

/// What a message asks of the book. `none` is counted and otherwise passed over.
enum class Action : uint8_t { none, add, execute, reduce, remove, replace };

struct Message {
    uint64_t number = 0;       // in the file, all messages counted, from 1
    uint64_t timestamp_ns = 0; // since midnight
    uint64_t reference = 0;    // the order meant, or the new one of an add
    uint64_t new_reference = 0; // replace
    int64_t price = 0;         // x 10,000; add, replace
    int64_t quantity = 0;      // add, replace: of the order; execute, reduce: taken from it
    uint32_t user_id = 0;      // add: the participant's four letters, or 0
    uint16_t instrument = 0;
    uint8_t side = side_bid;   // add
    Action action = Action::none;
    uint8_t type = 0;          // the file's own letter or digit
};

/// A file of messages. next: false at the regular end, InputError for anything that is not well-formed.
class Feed {
public:
    virtual ~Feed() = default;
    virtual bool next(Message &message) = 0;
};
