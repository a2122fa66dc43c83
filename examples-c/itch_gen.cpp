// SPDX-License-Identifier: MIT OR Apache-2.0
//
// itch_gen.cpp: makes a day of NASDAQ TotalView-ITCH 5.0 messages. The same arguments give the same bytes on any
// machine: integers only, and the random numbers of random.hpp.
//
// Order messages: 45 % add, 43 % delete, 6 % replace, 4 % execution, 2 % partial cancel: exact in each hundred,
// which is a shuffled deck. A card that the books do not allow (nothing to delete yet) is swapped with the next add.
// The generator keeps the books itself, so every message names a live order, adds never cross, and executions take
// the oldest order at the best price: an engine that replays the day meets no stale order and ends with the same
// books (--stats prints their digest).
//
// Prices: each stock has a mid that wanders by ticks of $0.01, only as far as the books let it; 90 % of new orders
// are within ten ticks of it, the others within two hundred. Executions, and half of the deletes, go for what is in
// its way.
#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "itch_format.hpp"
#include "order_book.hpp"
#include "random.hpp"

namespace {

const char help[] = "usage: itch_gen PATH [options]     PATH: the file to write, - = standard output\n"
                    "Writes a TotalView-ITCH 5.0 file (BinaryFILE framing); the same arguments give the same bytes.\n"
                    "  --messages N   order messages, 1 and up (default 1000000)\n"
                    "  --stocks K     stocks, 1 to 10000 (default 20)\n"
                    "  --seed S       any 64-bit number (default 1)\n"
                    "  --stats        print the counts and the books' digest to standard error\n";

struct Stock {
    char name[8];
    int64_t mid;
};

class Writer {
public:
    explicit Writer(const std::string &path) : path_(path), file_(path == "-" ? stdout : std::fopen(path.c_str(), "wb"))
    {
        if (file_ == nullptr) {
            throw InputError(path + ": cannot be written: " + std::strerror(errno));
        }
    }

    ~Writer()
    {
        if (file_ != nullptr && file_ != stdout) {
            std::fclose(file_);
        }
    }
    Writer(const Writer &) = delete;
    Writer &operator=(const Writer &) = delete;

    /// message[0] is the type, its bytes behind are filled.
    void write(const uint8_t *message)
    {
        const unsigned bytes = itch::message_bytes(message[0]);
        uint8_t length[2];
        itch::put_unsigned(length, 2, bytes);
        if (std::fwrite(length, 1, 2, file_) != 2 || std::fwrite(message, 1, bytes, file_) != bytes) {
            fail();
        }
        written_ += 2 + bytes;
        counts_[message[0]] += 1;
    }

    void finish()
    {
        std::FILE *file = std::exchange(file_, nullptr);
        if (std::fflush(file) != 0 || (file != stdout && std::fclose(file) != 0)) {
            fail();
        }
    }

    uint64_t count(char type) const { return counts_[static_cast<uint8_t>(type)]; }

private:
    [[noreturn]] void fail() const
    {
        throw RunError(path_ + ": write failed at byte " + std::to_string(written_) + ": " + std::strerror(errno));
    }

    std::string path_;
    std::FILE *file_;
    uint64_t written_ = 0;
    std::array<uint64_t, 256> counts_{};
};

class Day {
public:
    Day(const std::string &path, uint64_t messages, uint32_t stocks, uint64_t seed)
        : writer_(path), random_(seed), messages_(messages)
    {
        for (uint32_t i = 0; i < stocks; ++i) {
            Stock stock{{'S', ' ', ' ', ' ', ' ', ' ', ' ', ' '}, 0};
            uint32_t rest = i;
            for (unsigned at = 3; at > 0; --at, rest /= 26) {
                stock.name[at] = static_cast<char>('A' + rest % 26);
            }
            stock.mid = tick * static_cast<int64_t>(2000 + random_.below(38000)); // $20 to $400
            stocks_.push_back(stock);
        }
    }

    void write()
    {
        system_event('O', 3 * hour_ns);
        for (uint16_t locate = 1; locate <= stocks_.size(); ++locate) {
            directory(locate);
        }
        system_event('S', 4 * hour_ns);
        system_event('Q', open_ns);
        now_ns_ = open_ns;
        for (uint64_t i = 0; i < messages_; ++i) {
            advance(messages_ - i);
            order_message(draw());
        }
        system_event('M', close_ns);
        system_event('E', close_ns + 4 * hour_ns);
        system_event('C', close_ns + 4 * hour_ns + 300000000000);
        writer_.finish();
    }

    void print_stats() const
    {
        const uint64_t counts[] = {writer_.count('A') + writer_.count('F'), writer_.count('D'), writer_.count('U'),
                                   writer_.count('E') + writer_.count('C'), writer_.count('X')};
        const char *const names[] = {"add", "delete", "replace", "execute", "partial_cancel"};
        for (unsigned i = 0; i < 5; ++i) {
            std::fprintf(stderr, "%-15s %12" PRIu64 "  %7.3f %%\n", names[i], counts[i],
                         100.0 * static_cast<double>(counts[i]) / static_cast<double>(messages_));
        }
        for (const char type : {'S', 'R', 'A', 'F', 'D', 'U', 'E', 'C', 'X'}) {
            std::fprintf(stderr, "type_%c          %12" PRIu64 "\n", type, writer_.count(type));
        }
        std::fprintf(stderr, "near_mid        %12" PRIu64 "  %7.3f %% of the %" PRIu64 " prices\n", near_,
                     100.0 * static_cast<double>(near_) / static_cast<double>(prices_), prices_);
        std::fprintf(stderr, "exchanged_cards %12" PRIu64 "\nlive_orders     %12zu\nmid_moves       %12" PRIu64
                             "\ntrades          %12" PRIu64 "\nvolume          %12" PRIu64
                             "\ndigest          %016" PRIx64 "\n",
                     exchanged_, books_.orders(), mid_moves_, books_.trades().count, books_.trades().volume,
                     books_.digest());
    }

private:
    static constexpr uint64_t hour_ns = 3600000000000;
    static constexpr uint64_t open_ns = 9 * hour_ns + hour_ns / 2;
    static constexpr uint64_t close_ns = 16 * hour_ns;
    static constexpr int64_t tick = 100; // $0.01

    /// Bytes common to all messages.
    uint8_t *begin(char type, uint16_t locate, uint64_t timestamp_ns)
    {
        message_.fill(0);
        message_[0] = static_cast<uint8_t>(type);
        itch::put_unsigned(&message_[itch::locate_at], 2, locate);
        itch::put_unsigned(&message_[itch::timestamp_at], 6, timestamp_ns);
        return message_.data();
    }

    void system_event(char code, uint64_t timestamp_ns)
    {
        begin('S', 0, timestamp_ns)[itch::event_code_at] = static_cast<uint8_t>(code);
        writer_.write(message_.data());
    }

    void directory(uint16_t locate)
    {
        uint8_t *at = begin('R', locate, 3 * hour_ns + 1000 * locate) + itch::directory_stock_at;
        // category Q, status N, round lot 100, round lots only N, class C, sub-type Z, production P, then: short sale
        // threshold N, IPO blank, price reference tier 1, ETP N, leverage 0, inverse N
        std::memcpy(at, stocks_[locate - 1u].name, 8);
        std::memcpy(at + 8, "QN", 2);
        itch::put_unsigned(at + 10, 4, 100);
        std::memcpy(at + 14, "NCZ PN 1N", 9);
        at[27] = 'N';
        writer_.write(message_.data());
    }

    /// Most messages follow closely, some after a pause; the last ones come just before the close.
    void advance(uint64_t messages_left)
    {
        const uint64_t room = close_ns - now_ns_ - 1;
        const uint64_t mean = room / messages_left;
        const uint64_t longest = random_.percent(87) ? mean / 4 : mean * 14;
        now_ns_ += 1 + std::min(longest == 0 ? 0 : random_.below(longest), room - messages_left);
    }

    char draw()
    {
        if (card_ == deck_.size()) {
            const std::pair<char, unsigned> shares[] = {{'A', 45}, {'D', 43}, {'U', 6}, {'E', 4}, {'X', 2}};
            size_t at = 0;
            for (const auto &share : shares) {
                for (unsigned i = 0; i < share.second; ++i) {
                    deck_[at++] = share.first;
                }
            }
            for (size_t i = deck_.size() - 1; i > 0; --i) {
                std::swap(deck_[i], deck_[random_.below(i + 1)]);
            }
            card_ = 0;
        }
        return deck_[card_];
    }

    void order_message(char type)
    {
        const bool done = (type == 'D' && remove()) || (type == 'U' && replace()) || (type == 'E' && execute()) ||
                          (type == 'X' && reduce());
        if (!done) {
            if (type != 'A') {
                ++exchanged_;
                for (size_t i = card_ + 1; i < deck_.size(); ++i) {
                    if (deck_[i] == 'A') {
                        std::swap(deck_[i], deck_[card_]);
                        break;
                    }
                }
            }
            add();
        }
        ++card_;
    }

    void add()
    {
        // The smaller of two draws: the first stocks are traded most.
        const uint16_t locate = static_cast<uint16_t>(
            1 + std::min(random_.below(stocks_.size()), random_.below(stocks_.size())));
        wander(locate);
        Order order;
        order.reference = next_reference_++;
        order.instrument = locate;
        order.side = random_.percent(50) ? side_bid : side_ask;
        order.price = price(locate, order.side);
        order.quantity = quantity();
        const bool with_participant = random_.percent(3);
        uint8_t *at = begin(with_participant ? 'F' : 'A', locate, now_ns_);
        itch::put_unsigned(at + itch::reference_at, 8, order.reference);
        at[itch::add_side_at] = order.side == side_bid ? 'B' : 'S';
        itch::put_unsigned(at + itch::add_shares_at, 4, static_cast<uint64_t>(order.quantity));
        std::memcpy(at + itch::add_stock_at, stocks_[locate - 1u].name, 8);
        itch::put_unsigned(at + itch::add_price_at, 4, static_cast<uint64_t>(order.price));
        if (with_participant) {
            const char participant[] = {'M', 'M', 'K', static_cast<char>('A' + random_.below(26))};
            std::memcpy(at + itch::add_participant_at, participant, 4);
            order.user_id = itch::get_u32(at + itch::add_participant_at);
        }
        writer_.write(at);
        books_.add_limit(order);
        live_.push_back(order.reference);
    }

    bool remove()
    {
        const Order *order = pick();
        if (order == nullptr) {
            return false;
        }
        if (random_.percent(50)) {
            const Order *obstacle = in_the_way(order->instrument);
            order = obstacle != nullptr ? obstacle : order;
        }
        const uint64_t reference = order->reference;
        writer_.write(name_order('D', *order));
        books_.cancel(reference);
        return true;
    }

    bool replace()
    {
        const Order *picked = pick();
        if (picked == nullptr) {
            return false;
        }
        const uint64_t replaced = picked->reference;
        wander(picked->instrument);
        Order order = *picked;
        order.reference = next_reference_++;
        order.price = price(order.instrument, order.side);
        order.quantity = quantity();
        uint8_t *at = name_order('U', *picked);
        itch::put_unsigned(at + itch::new_reference_at, 8, order.reference);
        itch::put_unsigned(at + itch::new_shares_at, 4, static_cast<uint64_t>(order.quantity));
        itch::put_unsigned(at + itch::new_price_at, 4, static_cast<uint64_t>(order.price));
        writer_.write(at);
        books_.cancel(replaced);
        books_.add_limit(order);
        live_.push_back(order.reference);
        return true;
    }

    bool execute()
    {
        const Order *order = pick();
        if (order == nullptr) {
            return false;
        }
        const Order *obstacle = in_the_way(order->instrument);
        order = obstacle != nullptr ? obstacle : books_.best(order->instrument, order->side);
        // Mostly partial, so that adds outweigh what goes; never the whole while there is hardly anything.
        const bool whole = order->quantity == 1 || (random_.percent(25) && books_.orders() > 100);
        const uint64_t full = static_cast<uint64_t>(order->quantity);
        const uint64_t executed = whole ? full : 1 + random_.below(full - 1);
        const bool with_price = random_.percent(5);
        uint8_t *at = name_order(with_price ? 'C' : 'E', *order);
        itch::put_unsigned(at + itch::shares_at, 4, executed);
        itch::put_unsigned(at + itch::match_at, 8, next_match_++);
        if (with_price) {
            at[itch::printable_at] = 'Y';
            itch::put_unsigned(at + itch::execution_price_at, 4, static_cast<uint64_t>(order->price));
        }
        writer_.write(at);
        books_.add_market(order->instrument, order->side ^ 1, static_cast<int64_t>(executed), 4 * message_number());
        return true;
    }

    bool reduce()
    {
        for (unsigned tries = 0; tries < 8; ++tries) {
            const Order *order = pick();
            if (order != nullptr && order->quantity > 1) {
                const uint64_t most = static_cast<uint64_t>(order->quantity - 1);
                const int64_t cancelled = 1 + static_cast<int64_t>(random_.below(most));
                uint8_t *at = name_order('X', *order);
                itch::put_unsigned(at + itch::shares_at, 4, static_cast<uint64_t>(cancelled));
                writer_.write(at);
                books_.modify_quantity(order->reference, order->quantity - cancelled);
                return true;
            }
        }
        return false;
    }

    /// The file's number of the message just written: an engine tells its takers by it.
    uint64_t message_number() const
    {
        uint64_t sum = 0;
        for (const char type : {'S', 'R', 'A', 'F', 'D', 'U', 'E', 'C', 'X'}) {
            sum += writer_.count(type);
        }
        return sum;
    }

    uint8_t *name_order(char type, const Order &order)
    {
        uint8_t *at = begin(type, order.instrument, now_ns_);
        itch::put_unsigned(at + itch::reference_at, 8, order.reference);
        return at;
    }

    /// Any live order, all alike; nullptr = there is none. References that are gone are dropped when met.
    const Order *pick()
    {
        while (!live_.empty()) {
            const size_t at = random_.below(live_.size());
            const Order *order = books_.find(live_[at]);
            if (order != nullptr) {
                return order;
            }
            live_[at] = live_.back();
            live_.pop_back();
        }
        return nullptr;
    }

    /// The oldest best order that keeps the mid from moving on, if one does.
    const Order *in_the_way(uint16_t locate) const
    {
        const int64_t mid = stocks_[locate - 1u].mid;
        for (const uint8_t side : {side_bid, side_ask}) {
            const Order *order = books_.best(locate, side);
            if (order != nullptr && order->price == mid) {
                return order;
            }
        }
        return nullptr;
    }

    /// Holds best bid <= mid <= best ask: that is why adds never cross.
    void wander(uint16_t locate)
    {
        if (random_.below(200) != 0) {
            return;
        }
        Stock &stock = stocks_[locate - 1u];
        const bool up = random_.percent(50);
        const Order *ahead = books_.best(locate, up ? side_ask : side_bid);
        const bool blocked = ahead != nullptr && ahead->price == stock.mid;
        if (!blocked && (up || stock.mid > 500 * tick)) {
            stock.mid += up ? tick : -tick;
            ++mid_moves_;
        }
    }

    int64_t price(uint16_t locate, uint8_t side)
    {
        const bool near = random_.percent(90);
        const int64_t ticks = static_cast<int64_t>(near ? 1 + random_.below(10) : 11 + random_.below(190));
        ++prices_;
        near_ += near;
        return stocks_[locate - 1u].mid + (side == side_bid ? -ticks : ticks) * tick;
    }

    int64_t quantity()
    {
        return static_cast<int64_t>(random_.percent(80) ? 100 * (1 + random_.below(10)) : 1 + random_.below(999));
    }

    Writer writer_;
    Random random_;
    uint64_t messages_;
    std::vector<Stock> stocks_;
    OrderBooks books_;
    std::vector<uint64_t> live_; // references, some of them gone
    std::array<uint8_t, itch::longest_message> message_{};
    std::array<char, 100> deck_{};
    size_t card_ = 100;
    uint64_t now_ns_ = 0;
    uint64_t next_reference_ = 1;
    uint64_t next_match_ = 1;
    uint64_t exchanged_ = 0;
    uint64_t prices_ = 0;
    uint64_t near_ = 0;
    uint64_t mid_moves_ = 0;
};

int run(int argc, char **argv)
{
    std::string path;
    uint64_t messages = 1000000;
    uint32_t stocks = 20;
    uint64_t seed = 1;
    bool stats = false;
    for (Arguments args(argc, argv); args.next();) {
        if (args.is("--help") || args.is("-h")) {
            std::fputs(help, stdout);
            return 0;
        } else if (args.is("--messages")) {
            messages = args.number(1, 1000000000000);
        } else if (args.is("--stocks")) {
            stocks = args.number_u32(1, 10000);
        } else if (args.is("--seed")) {
            seed = args.number(0, UINT64_MAX);
        } else if (args.is("--stats")) {
            stats = true;
        } else if (args.is_option() || !path.empty()) {
            args.unknown();
        } else {
            path = args.text();
        }
    }
    if (path.empty()) {
        throw InputError("give the path of the file to write (see --help)");
    }
    Day day(path, messages, stocks, seed);
    day.write();
    if (stats) {
        day.print_stats();
    }
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        return run(argc, argv);
    } catch (const InputError &error) {
        std::fprintf(stderr, "itch_gen: %s\n", error.what());
        return 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "itch_gen: %s\n", error.what());
        return 1;
    }
}
