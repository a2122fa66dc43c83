// SPDX-License-Identifier: MIT OR Apache-2.0
//
// request.hpp: from a feed message to the recorded events, and from an event to the books.
//
// An event is complete in itself: applying it needs the books and nothing of the feed. So the log alone rebuilds the
// books, and the last event alone tells where in the feed to go on.
//
//   event_id      message number x 4 + k; k = 0, and 1 for the second half of a replace
//   timestamp_ns  the message's, nanoseconds since midnight
//   price         x 10,000
//   quantity      of the order; in a modify-quantity event the new open quantity
//   order_id      the low 32 bits of the order reference, for people and tools. References have 64 bits, and two live
//                 orders may agree in the low half: the books use the whole one in user_bytes
//   user_bytes    [0..2] instrument (stock locate), little-endian; [2] flags, see below;
//                 [3..11] order reference, 64 bits, little-endian; [11] the message's type; the rest 0
//
// Messages become requests so: add -> new limit order; partial cancel -> modify quantity; delete -> cancel; replace ->
// cancel, then a new limit order under the new reference; execution -> a market order of the other side with the
// executed quantity, so that this engine makes the trade itself. Its books can thus differ from the exchange's, and a
// message may name an order that is not there (any more). It is recorded all the same, flagged, and changes nothing:
// it is counted as stale. A stale replace has one event, its new order's side being unknown.
#pragma once

#include <algorithm>
#include <cstring>

#include "feed.hpp"
#include "order_book.hpp"
#include "walrec.h"

constexpr uint8_t event_new = 0;
constexpr uint8_t event_modify_price = 1;
constexpr uint8_t event_modify_quantity = 2;
constexpr uint8_t event_cancel = 3;

constexpr uint8_t order_limit = 0;
constexpr uint8_t order_market = 1;

constexpr unsigned flags_byte = 2;
constexpr unsigned message_type_byte = 11;
/// Flag: the order was not in the books when the request came.
constexpr uint8_t flag_stale = 1;

// The library is for little-endian machines only, so copying is enough.
inline uint16_t event_instrument(const walrec_event_t &event)
{
    uint16_t instrument;
    std::memcpy(&instrument, event.user_bytes, sizeof instrument);
    return instrument;
}

inline uint64_t event_reference(const walrec_event_t &event)
{
    uint64_t reference;
    std::memcpy(&reference, event.user_bytes + 3, sizeof reference);
    return reference;
}

inline void set_identity(walrec_event_t &event, uint16_t instrument, uint64_t reference)
{
    std::memcpy(event.user_bytes, &instrument, sizeof instrument);
    std::memcpy(event.user_bytes + 3, &reference, sizeof reference);
    event.order_id = static_cast<uint32_t>(reference);
}

/// The first event of a message whose action is not none.
inline walrec_event_t first_event(const Message &message, const OrderBooks &books)
{
    walrec_event_t event{};
    event.event_id = message.number * 4;
    event.timestamp_ns = message.timestamp_ns;
    event.user_bytes[message_type_byte] = message.type;
    set_identity(event, message.instrument, message.reference);
    if (message.action == Action::add) {
        event.type = event_new;
        event.order_type = order_limit;
        event.side = message.side;
        event.price = message.price;
        event.quantity = message.quantity;
        event.user_id = message.user_id;
        return event;
    }
    const Order *order = books.find(message.reference);
    if (order == nullptr) {
        event.user_bytes[flags_byte] = flag_stale;
    } else {
        event.side = order->side;
        event.user_id = order->user_id;
    }
    switch (message.action) {
    case Action::execute:
        event.type = event_new;
        event.order_type = order_market;
        event.side ^= 1;
        event.quantity = message.quantity;
        event.user_id = 0; // whose it is, the feed does not say
        break;
    case Action::reduce:
        event.type = event_modify_quantity;
        event.quantity = order == nullptr ? 0 : std::max<int64_t>(order->quantity - message.quantity, 0);
        break;
    default:
        event.type = event_cancel;
        break;
    }
    return event;
}

/// Whether the message whose first event was `first` has a second one: a replace of an order that was there.
inline bool has_second_event(const Message &message, const walrec_event_t &first)
{
    return message.action == Action::replace && (first.user_bytes[flags_byte] & flag_stale) == 0;
}

/// The new order of a replace. Side and owner come from the cancel event: the order itself is gone by now.
inline walrec_event_t second_event(const Message &message, const walrec_event_t &first)
{
    walrec_event_t event{};
    event.event_id = message.number * 4 + 1;
    event.timestamp_ns = message.timestamp_ns;
    event.user_bytes[message_type_byte] = message.type;
    set_identity(event, message.instrument, message.new_reference);
    event.type = event_new;
    event.order_type = order_limit;
    event.side = first.side;
    event.price = message.price;
    event.quantity = message.quantity;
    event.user_id = first.user_id;
    return event;
}

/// Counts of applied events.
struct Counts {
    uint64_t new_limit = 0;
    uint64_t new_market = 0;
    uint64_t modify_price = 0;
    uint64_t modify_quantity = 0;
    uint64_t cancel = 0;
    uint64_t stale = 0;   // of the above, the order was not there
    uint64_t refused = 0; // of the above, bad quantity or price, or a reference in use
};

/// Applies one event; the only way by which the books change, from the feed and from the log alike.
inline void apply(const walrec_event_t &event, OrderBooks &books, Counts &counts)
{
    const uint64_t reference = event_reference(event);
    const bool stale = (event.user_bytes[flags_byte] & flag_stale) != 0;
    OrderBooks::Result result = OrderBooks::Result::unknown_order;
    switch (event.type) {
    case event_new:
        if (event.order_type == order_market) {
            ++counts.new_market;
            if (!stale) {
                result = books.add_market(event_instrument(event), event.side & 1, event.quantity, event.event_id);
            }
            break;
        }
        ++counts.new_limit;
        {
            Order order;
            order.reference = reference;
            order.price = event.price;
            order.quantity = event.quantity;
            order.user_id = event.user_id;
            order.instrument = event_instrument(event);
            order.side = event.side & 1;
            result = books.add_limit(order);
        }
        break;
    case event_modify_price:
        ++counts.modify_price;
        result = books.modify_price(reference, event.price);
        break;
    case event_modify_quantity:
        ++counts.modify_quantity;
        result = books.modify_quantity(reference, event.quantity);
        break;
    case event_cancel:
        ++counts.cancel;
        result = books.cancel(reference);
        break;
    default:
        result = OrderBooks::Result::refused;
        break;
    }
    counts.stale += result == OrderBooks::Result::unknown_order;
    counts.refused += result == OrderBooks::Result::refused;
}
