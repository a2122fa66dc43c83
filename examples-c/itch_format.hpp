// SPDX-License-Identifier: MIT OR Apache-2.0
//
// itch_format.hpp: NASDAQ TotalView-ITCH 5.0 in BinaryFILE framing: a big-endian u16 length, then that many bytes of
// message.
//
// All integers are big-endian. Every message begins: type (1 byte), stock locate (2), tracking number (2), nanoseconds
// since midnight (6). Prices are unsigned and scaled by 10,000. Shared by the reader and the generator.
#pragma once

#include <cstdint>

namespace itch {

inline uint16_t get_u16(const uint8_t *at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }

inline uint32_t get_u32(const uint8_t *at)
{
    return static_cast<uint32_t>(get_u16(at)) << 16 | get_u16(at + 2);
}

inline uint64_t get_u48(const uint8_t *at) { return static_cast<uint64_t>(get_u16(at)) << 32 | get_u32(at + 2); }

inline uint64_t get_u64(const uint8_t *at) { return static_cast<uint64_t>(get_u32(at)) << 32 | get_u32(at + 4); }

inline void put_unsigned(uint8_t *at, unsigned bytes, uint64_t value)
{
    for (unsigned i = bytes; i-- > 0; value >>= 8) {
        at[i] = static_cast<uint8_t>(value & 0xff);
    }
}

// Offsets inside a message.
constexpr unsigned locate_at = 1;
constexpr unsigned timestamp_at = 5;
constexpr unsigned reference_at = 11;        // A F E C X D, and the replaced order of U
constexpr unsigned add_side_at = 19;         // A F: 'B' or 'S'
constexpr unsigned add_shares_at = 20;
constexpr unsigned add_stock_at = 24;
constexpr unsigned add_price_at = 32;
constexpr unsigned add_participant_at = 36;  // F only
constexpr unsigned shares_at = 19;           // E C: executed, X: cancelled
constexpr unsigned match_at = 23;            // E C
constexpr unsigned printable_at = 31;        // C
constexpr unsigned execution_price_at = 32;  // C
constexpr unsigned new_reference_at = 19;    // U
constexpr unsigned new_shares_at = 27;
constexpr unsigned new_price_at = 31;
constexpr unsigned event_code_at = 11;       // S
constexpr unsigned directory_stock_at = 11;  // R

constexpr unsigned longest_message = 50;

/// Bytes of a message of this type; 0 = no type of ITCH 5.0.
constexpr unsigned message_bytes(uint8_t type)
{
    switch (type) {
    case 'S': return 12; // system event
    case 'R': return 39; // stock directory
    case 'H': return 25; // trading action
    case 'Y': return 20; // short sale restriction
    case 'L': return 26; // market participant position
    case 'V': return 35; // market-wide circuit breaker levels
    case 'W': return 12; // market-wide circuit breaker status
    case 'K': return 28; // IPO quoting period
    case 'J': return 35; // auction collar
    case 'h': return 21; // operational halt
    case 'A': return 36; // add order
    case 'F': return 40; // add order with participant
    case 'E': return 31; // executed
    case 'C': return 36; // executed with price
    case 'X': return 23; // partial cancel
    case 'D': return 19; // delete
    case 'U': return 35; // replace
    case 'P': return 44; // trade of a hidden order
    case 'Q': return 40; // cross trade
    case 'B': return 19; // broken trade
    case 'I': return 50; // net order imbalance
    case 'N': return 20; // retail interest
    case 'O': return 48; // direct listing with capital raise
    default: return 0;
    }
}

} // namespace itch
