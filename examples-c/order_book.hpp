// SPDX-License-Identifier: MIT OR Apache-2.0
//
// order_book.hpp: price-time-priority matching for up to 65,536 instruments. Single-threaded, deterministic: the same
// calls in the same order give the same books, trades and digest, on any machine.
//
// Rules
//   (1) An incoming order trades against the best opposite price first, and there against the oldest order.
//   (2) A trade is at the resting order's price. What is left of a limit order rests; of a market order, it is dropped.
//   (3) A changed price loses time priority, and may trade. A smaller quantity keeps it, a larger one loses it.
//   (4) Books never stay crossed.
//
// Layout: orders live in one pool, addressed by 32-bit places; a level links its orders oldest first; a side
// is a vector of levels with the best at the back, where nearly all work happens.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "feed.hpp"
#include "order_map.hpp"

struct Order {
    uint64_t reference = 0;
    int64_t price = 0;
    int64_t quantity = 0;
    uint32_t previous = OrderMap::none; // older, same level
    uint32_t next = OrderMap::none;     // younger; in a free place: the next free one
    uint32_t user_id = 0;
    uint16_t instrument = 0;
    uint8_t side = side_bid;
};

/// Counts since the beginning, part of the digest.
struct Trades {
    uint64_t count = 0;
    uint64_t volume = 0;
    uint64_t digest = 0; // over every trade in order: maker, taker, price, quantity
};

class OrderBooks {
public:
    enum class Result : uint8_t { done, unknown_order, refused };

    OrderBooks() : books_(65536) {}

    const Order *find(uint64_t reference) const
    {
        const uint32_t place = map_.find(reference);
        return place == OrderMap::none ? nullptr : &pool_[place];
    }

    /// refused: no positive quantity or price, or the reference is in use.
    Result add_limit(const Order &order)
    {
        if (order.quantity <= 0 || order.price <= 0 || find(order.reference) != nullptr) {
            return Result::refused;
        }
        enter(order);
        return Result::done;
    }

    Result add_market(uint16_t instrument, uint8_t side, int64_t quantity, uint64_t taker)
    {
        if (quantity <= 0) {
            return Result::refused;
        }
        match(book(instrument), side, INT64_MIN, quantity, taker);
        return Result::done;
    }

    Result cancel(uint64_t reference)
    {
        const uint32_t place = map_.find(reference);
        if (place == OrderMap::none) {
            return Result::unknown_order;
        }
        leave(place);
        return Result::done;
    }

    Result modify_price(uint64_t reference, int64_t price)
    {
        const uint32_t place = map_.find(reference);
        if (place == OrderMap::none) {
            return Result::unknown_order;
        }
        if (price <= 0) {
            return Result::refused;
        }
        Order order = pool_[place];
        leave(place);
        order.price = price;
        enter(order);
        return Result::done;
    }

    /// quantity: the new open quantity; 0 or less cancels.
    Result modify_quantity(uint64_t reference, int64_t quantity)
    {
        const uint32_t place = map_.find(reference);
        if (place == OrderMap::none) {
            return Result::unknown_order;
        }
        if (quantity <= 0) {
            leave(place);
            return Result::done;
        }
        Order &order = pool_[place];
        Side &side = side_of(order);
        Level &level = side[level_end(side, rank(order.side, order.price)) - 1];
        level.quantity += quantity - order.quantity;
        const bool larger = quantity > order.quantity;
        order.quantity = quantity;
        if (larger && level.newest != place) {
            unlink(level, place);
            link(level, place);
        }
        return Result::done;
    }

    /// Oldest order at the best price; nullptr = the side is empty.
    const Order *best(uint16_t instrument, uint8_t side) const
    {
        const auto &book = books_[instrument];
        return book == nullptr || book->sides[side].empty() ? nullptr : &pool_[book->sides[side].back().oldest];
    }

    const Trades &trades() const { return trades_; }
    size_t orders() const { return map_.size(); }

    /// Everything that matters as one number: instruments in order, both sides, levels best first, orders oldest first,
    /// and the trades so far.
    uint64_t digest() const
    {
        uint64_t sum = 0;
        for (size_t instrument = 0; instrument < books_.size(); ++instrument) {
            if (books_[instrument] == nullptr) {
                continue;
            }
            for (const Side &side : books_[instrument]->sides) {
                sum = mix(mix(sum, instrument), side.size());
                for (auto level = side.rbegin(); level != side.rend(); ++level) {
                    sum = mix(sum, static_cast<uint64_t>(level->quantity));
                    for (uint32_t at = level->oldest; at != OrderMap::none; at = pool_[at].next) {
                        sum = mix(sum, pool_[at].reference);
                        sum = mix(sum, static_cast<uint64_t>(pool_[at].quantity));
                        sum = mix(sum, static_cast<uint64_t>(pool_[at].price));
                        sum = mix(sum, pool_[at].user_id);
                    }
                }
            }
        }
        return mix(mix(mix(sum, trades_.count), trades_.volume), trades_.digest);
    }

private:
    struct Level {
        int64_t rank; // see rank()
        int64_t quantity;
        uint32_t oldest;
        uint32_t newest;
    };
    using Side = std::vector<Level>; // rank rising: the best is at the back
    struct Book {
        Side sides[2];
    };

    static uint64_t mix(uint64_t sum, uint64_t word)
    {
        sum = (sum ^ word) * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u;
        return sum ^ sum >> 29;
    }

    /// Price as seen from a side: greater is better, for bids and asks alike.
    static int64_t rank(uint8_t side, int64_t price) { return side == side_bid ? price : -price; }

    /// Number of levels with at most this rank: the one before the end is the rank's own, if it exists.
    static size_t level_end(const Side &side, int64_t rank)
    {
        size_t end = side.size();
        for (unsigned steps = 0; end > 0 && side[end - 1].rank > rank; ++steps) {
            if (steps == 16) { // far from the best price: halve
                const auto found = std::upper_bound(side.begin(), side.begin() + static_cast<std::ptrdiff_t>(end), rank,
                                                    [](int64_t value, const Level &l) { return value < l.rank; });
                return static_cast<size_t>(found - side.begin());
            }
            --end;
        }
        return end;
    }

    Book &book(uint16_t instrument)
    {
        auto &book = books_[instrument];
        if (book == nullptr) {
            book = std::make_unique<Book>();
        }
        return *book;
    }

    Side &side_of(const Order &order) { return books_[order.instrument]->sides[order.side]; }

    /// Trades what crosses, lets the rest stand.
    void enter(const Order &incoming)
    {
        Book &book = this->book(incoming.instrument);
        // Opposite ranks that the price reaches: asks at or below a bid's price, bids at or above an ask's.
        const int64_t lowest_rank = rank(incoming.side ^ 1, incoming.price);
        const int64_t left =
            match(book, incoming.side, lowest_rank, incoming.quantity, incoming.reference);
        if (left == 0) {
            return;
        }
        const uint32_t place = take_place();
        Order &order = pool_[place];
        order = incoming;
        order.quantity = left;
        Side &side = book.sides[order.side];
        const int64_t own_rank = rank(order.side, order.price);
        const size_t end = level_end(side, own_rank);
        if (end == 0 || side[end - 1].rank != own_rank) {
            order.previous = order.next = OrderMap::none;
            side.insert(side.begin() + static_cast<std::ptrdiff_t>(end), Level{own_rank, left, place, place});
        } else {
            side[end - 1].quantity += left;
            link(side[end - 1], place);
        }
        map_.insert(order.reference, place);
    }

    /// Takes from the opposite side as long as its best rank is at least lowest_rank; returns what is left.
    int64_t match(Book &book, uint8_t taker_side, int64_t lowest_rank, int64_t quantity, uint64_t taker)
    {
        Side &side = book.sides[taker_side ^ 1];
        while (quantity > 0 && !side.empty() && side.back().rank >= lowest_rank) {
            Level &level = side.back();
            const uint32_t place = level.oldest;
            Order &maker = pool_[place];
            const int64_t traded = std::min(quantity, maker.quantity);
            trades_.count += 1;
            trades_.volume += static_cast<uint64_t>(traded);
            trades_.digest = mix(mix(mix(mix(trades_.digest, maker.reference), taker),
                                     static_cast<uint64_t>(maker.price)), static_cast<uint64_t>(traded));
            quantity -= traded;
            maker.quantity -= traded;
            level.quantity -= traded;
            if (maker.quantity == 0) {
                unlink(level, place);
                if (level.oldest == OrderMap::none) {
                    side.pop_back();
                }
                give_place(place);
            }
        }
        return quantity;
    }

    void leave(uint32_t place)
    {
        Side &side = side_of(pool_[place]);
        const size_t at = level_end(side, rank(pool_[place].side, pool_[place].price)) - 1;
        side[at].quantity -= pool_[place].quantity;
        unlink(side[at], place);
        if (side[at].oldest == OrderMap::none) {
            side.erase(side.begin() + static_cast<std::ptrdiff_t>(at));
        }
        give_place(place);
    }

    void link(Level &level, uint32_t place)
    {
        pool_[place].previous = level.newest;
        pool_[place].next = OrderMap::none;
        (level.newest == OrderMap::none ? level.oldest : pool_[level.newest].next) = place;
        level.newest = place;
    }

    void unlink(Level &level, uint32_t place)
    {
        const uint32_t previous = pool_[place].previous;
        const uint32_t next = pool_[place].next;
        (previous == OrderMap::none ? level.oldest : pool_[previous].next) = next;
        (next == OrderMap::none ? level.newest : pool_[next].previous) = previous;
    }

    uint32_t take_place()
    {
        if (free_ == OrderMap::none) {
            pool_.emplace_back();
            return static_cast<uint32_t>(pool_.size() - 1);
        }
        const uint32_t place = free_;
        free_ = pool_[place].next;
        return place;
    }

    void give_place(uint32_t place)
    {
        map_.erase(pool_[place].reference);
        pool_[place].next = free_;
        free_ = place;
    }

    std::vector<Order> pool_;
    uint32_t free_ = OrderMap::none;
    OrderMap map_;
    std::vector<std::unique_ptr<Book>> books_;
    Trades trades_;
};
