/* Opens a recorder for the benchmark: here, so that walrec_config_t is the header's. */
#include "walrec.h"

walrec_status_t peers_walrec_open(const char *dir, walrec_t **out)
{
    walrec_config_t config;
    walrec_status_t status = walrec_config_init(&config, sizeof config);
    if (status != WALREC_OK)
        return status;
    /* No other peer compresses or deletes. */
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    /* A disk that is slow for a moment is a slow append, not an error. */
    config.wait_limit_us = 60000000;
    return walrec_open(dir, &config, out);
}
