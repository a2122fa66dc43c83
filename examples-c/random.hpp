// SPDX-License-Identifier: MIT OR Apache-2.0
//
// random.hpp: splitmix64. Integers only, so that a seed means the same on every machine; every seed is good.
#pragma once

#include <cstdint>

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next()
    {
        uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }

    /// 0 .. bound - 1. The modulo's bias is below bound / 2^64.
    uint64_t below(uint64_t bound) { return next() % bound; }

    /// lowest .. highest, both inclusive, not the whole 64 bits.
    uint64_t from_to(uint64_t lowest, uint64_t highest) { return lowest + below(highest - lowest + 1); }

    bool percent(unsigned share) { return below(100) < share; }

private:
    uint64_t state_;
};
