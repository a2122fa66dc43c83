// SPDX-License-Identifier: MIT OR Apache-2.0
//
// order_map.hpp: 64-bit order reference -> place in the order pool. Open addressing, linear probing, 16 bytes a slot.
//
// Invariants: (1) capacity is a power of two, at most half of it used; (2) no empty slot lies between a key's
// home and the key, so a search ends at the first empty slot; (3) erasing moves later keys back instead of leaving a
// tombstone, so the map does not slow down over a day of adds and deletes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

class OrderMap {
public:
    static constexpr uint32_t none = UINT32_MAX;

    OrderMap() : slots_(size_t{1} << 16), shift_(64 - 16) {}

    uint32_t find(uint64_t key) const
    {
        for (size_t at = home(key);; at = next(at)) {
            if (slots_[at].place == none || slots_[at].key == key) {
                return slots_[at].place;
            }
        }
    }

    /// The key must not be there.
    void insert(uint64_t key, uint32_t place)
    {
        if (2 * (used_ + 1) > slots_.size()) {
            grow();
        }
        size_t at = home(key);
        while (slots_[at].place != none) {
            at = next(at);
        }
        slots_[at] = {key, place};
        ++used_;
    }

    /// The key must be there.
    void erase(uint64_t key)
    {
        size_t hole = home(key);
        while (slots_[hole].key != key || slots_[hole].place == none) {
            hole = next(hole);
        }
        for (size_t at = next(hole); slots_[at].place != none; at = next(at)) {
            // A key may move back to the hole unless its home lies behind the hole (cyclically).
            const size_t mask = slots_.size() - 1;
            if (((at - home(slots_[at].key)) & mask) >= ((at - hole) & mask)) {
                slots_[hole] = slots_[at];
                hole = at;
            }
        }
        slots_[hole].place = none;
        --used_;
    }

    size_t size() const { return used_; }

private:
    struct Slot {
        uint64_t key = 0;
        uint32_t place = none;
    };

    // References are handed out in rising order: a multiplication spreads them, its upper bits choose the slot.
    size_t home(uint64_t key) const { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_); }
    size_t next(size_t at) const { return (at + 1) & (slots_.size() - 1); }

    void grow()
    {
        std::vector<Slot> old(slots_.size() * 2);
        old.swap(slots_);
        --shift_;
        used_ = 0;
        for (const Slot &slot : old) {
            if (slot.place != none) {
                insert(slot.key, slot.place);
            }
        }
    }

    std::vector<Slot> slots_;
    unsigned shift_;
    size_t used_ = 0;
};
