/* spdlog's asynchronous logger, by functions that Rust can call. */
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/version.h>

#include <cstdint>
#include <future>

namespace {
struct Logger {
    std::shared_ptr<spdlog::details::thread_pool> pool;
    std::shared_ptr<spdlog::sinks::basic_file_sink_mt> sink;
    std::shared_ptr<spdlog::async_logger> log;
};
} // namespace

extern "C" uint32_t peers_spdlog_version()
{
    return SPDLOG_VERSION;
}

/* NULL when the file cannot be opened. */
extern "C" void *peers_spdlog_open(const char *path, size_t queue)
{
    try {
        auto *logger = new Logger;
        logger->pool = std::make_shared<spdlog::details::thread_pool>(queue, 1);
        logger->sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, true);
        logger->log = std::make_shared<spdlog::async_logger>("events", logger->sink, logger->pool,
                                                             spdlog::async_overflow_policy::block);
        /* The bytes as they are: no time, no level, no line's end. */
        logger->log->set_formatter(std::make_unique<spdlog::pattern_formatter>(
            "%v", spdlog::pattern_time_type::utc, std::string()));
        return logger;
    } catch (...) {
        return nullptr;
    }
}

extern "C" void peers_spdlog_append(void *handle, const char *bytes, size_t n)
{
    static_cast<Logger *>(handle)->log->log(spdlog::level::info, spdlog::string_view_t(bytes, n));
}

/* Returns when everything queued before is in the page cache. */
extern "C" void peers_spdlog_drain(void *handle)
{
    auto *logger = static_cast<Logger *>(handle);
    logger->log->flush();
    while (logger->pool->queue_size() != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    logger->sink->flush();
}
