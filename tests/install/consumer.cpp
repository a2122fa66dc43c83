// The same by walrec.hpp.
#include <walrec.hpp>

#include <cstdio>
#include <string>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const std::string dir = std::string(argv[1]) + "/cpp.log";
    walrec::recorder log;
    if (!log.open(dir.c_str()))
        return 1;
    for (std::uint64_t id = 1; id <= 1000; id++)
        if (!log.emplace([&](walrec::event &e) { e = {}, e.event_id = id; }))
            return 1;
    if (!log.close())
        return 1;
    walrec::reader in;
    if (!in.open(dir.c_str()))
        return 1;
    std::uint64_t read = 0;
    for (const walrec::event &e : in)
        read += e.event_id == read + 1;
    std::printf("walrec %s: %llu events\n", walrec_version_string(), static_cast<unsigned long long>(read));
    return read == 1000 && in.last_status().code() == WALREC_END ? 0 : 1;
}
