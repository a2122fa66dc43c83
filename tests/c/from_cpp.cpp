/* The header from C++: names of C, no exceptions, nothing that clashes with a namespace of the library's name. */
#include "walrec.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>

namespace walrec {
struct recorder {
    walrec_t *handle;
};
} // namespace walrec

static_assert(sizeof(walrec_event_t) == 64, "64 bytes");
static_assert(std::is_standard_layout<walrec_event_t>::value && std::is_trivial<walrec_event_t>::value, "plain data");
static_assert(std::is_trivial<walrec_config_t>::value, "plain data");
static_assert(noexcept(walrec_append(nullptr, nullptr)), "never throws");
static_assert(noexcept(walrec_close(nullptr)), "never throws");

static void listen(void *user, std::int32_t, const char *message)
{
    static_cast<std::string *>(user)->append(message);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            char text[512];                                                                        \
            walrec_last_error(text, sizeof text);                                                  \
            std::printf("%s:%d: FAILED: %s \"%s\"\n", __FILE__, __LINE__, #condition, text);       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const std::string dir = std::string(argv[1]) + "/log";
    std::string messages;
    walrec_config_t config;
    CHECK(walrec_config_init(&config, sizeof config) == WALREC_OK);
    config.num_blocks = 16;
    config.log_cb = listen;
    config.log_user = &messages;
    walrec::recorder recorder = {nullptr};
    CHECK(walrec_open(dir.c_str(), &config, &recorder.handle) == WALREC_OK);
    CHECK(walrec_version_number() == WALREC_VERSION_NUMBER);
    CHECK(std::strcmp(walrec_version_string(), WALREC_VERSION_STRING) == 0);

    walrec_event_t event = walrec_event_t();
    for (event.event_id = 1; event.event_id <= 5000; event.event_id++) {
        event.price = -static_cast<std::int64_t>(event.event_id);
        if (event.event_id % 2 == 0) {
            CHECK(walrec_append(recorder.handle, &event) == WALREC_OK);
        } else {
            walrec_event_t *slot = nullptr;
            CHECK(walrec_reserve(recorder.handle, &slot) == WALREC_OK);
            *slot = event;
            CHECK(walrec_commit(recorder.handle) == WALREC_OK);
        }
    }
    CHECK(walrec_sync(recorder.handle, 0, UINT64_MAX) == WALREC_OK);
    CHECK(walrec_close(recorder.handle) == WALREC_OK);

    walrec_reader_t *reader = nullptr;
    CHECK(walrec_reader_open(dir.c_str(), 0, 0, &reader) == WALREC_OK);
    for (std::uint64_t id = 1; id <= 5000; id++) {
        CHECK(walrec_reader_next(reader, &event) == WALREC_OK);
        CHECK(event.event_id == id && event.price == -static_cast<std::int64_t>(id));
    }
    CHECK(walrec_reader_next(reader, &event) == WALREC_END);
    walrec_reader_close(reader);
    return 0;
}
