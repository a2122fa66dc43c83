// A C++ program that links walrec and another Rust library, both statically, and throws an exception of its own.
#include <walrec.hpp>

#include <cstdio>
#include <string>

extern "C" std::uint64_t beside_sum(std::uint64_t n) noexcept;

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const std::string dir = std::string(argv[1]) + "/beside.log";
    walrec::recorder log;
    if (!log.open(dir.c_str()))
        return 1;
    std::uint64_t caught = 0;
    for (std::uint64_t id = 1; id <= 1000; id++) {
        try {
            const walrec::status s = log.emplace([&](walrec::event &e) {
                if (id % 100 == 0 && caught < id / 100)
                    throw id;
                e = {}, e.event_id = id;
            });
            if (!s)
                return 1;
        } catch (std::uint64_t) {
            caught++;
            id--;
        }
    }
    if (caught != 10 || beside_sum(10) != 55 || beside_sum(13) != UINT64_MAX || !log.sync() || !log.close())
        return 1;
    std::printf("walrec %s: 1000 events\n", walrec_version_string());
    return 0;
}
