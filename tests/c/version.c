/* The numbers of the contract: versions, sizes, offsets, status values and their texts. */
#include "check.h"

static const struct {
    walrec_status_t value;
    int number;
} statuses[] = {
    {WALREC_OK, 0},           {WALREC_END, 1},         {WALREC_GAP, 2},
    {WALREC_E_INVALID, -1},   {WALREC_E_ORDER, -2},    {WALREC_E_BACKPRESSURE, -3},
    {WALREC_E_CLOSED, -4},    {WALREC_E_FAILED, -5},   {WALREC_E_IO, -6},
    {WALREC_E_NOSPACE, -7},   {WALREC_E_LOCKED, -8},   {WALREC_E_NOT_FOUND, -9},
    {WALREC_E_CORRUPT, -10},  {WALREC_E_ABI, -11},     {WALREC_E_FORKED, -12},
    {WALREC_E_PANIC, -13},    {WALREC_E_NOMEM, -14},   {WALREC_E_TIMEOUT, -15},
    {WALREC_E_THREAD, -16},
};
#define STATUSES (sizeof statuses / sizeof statuses[0])

int main(int argc, char **argv)
{
    size_t i, j;
    uint32_t reason;
    char text[64];

    check_begin(argc, argv, 20);

    CHECK_U64(WALREC_VERSION_NUMBER, walrec_version_number());
    CHECK(strcmp(walrec_version_string(), WALREC_VERSION_STRING) == 0);
    CHECK_U64(WALREC_ABI_VERSION, walrec_abi_version());
    CHECK_U64(WALREC_VERSION_MAJOR * 10000 + WALREC_VERSION_MINOR * 100 + WALREC_VERSION_PATCH,
              walrec_version_number());
    snprintf(text, sizeof text, "%d.%d.%d", WALREC_VERSION_MAJOR, WALREC_VERSION_MINOR,
             WALREC_VERSION_PATCH);
    CHECK(strcmp(text, walrec_version_string()) == 0);

    for (i = 0; i < STATUSES; i++) {
        const char *name = walrec_status_str(statuses[i].value);
        CHECK(statuses[i].value == statuses[i].number);
        CHECK(name != NULL && name[0] != '\0');
        for (j = 0; j < i; j++)
            CHECK(strcmp(name, walrec_status_str(statuses[j].value)) != 0);
        /* Static: the same place each time. */
        CHECK(name == walrec_status_str(statuses[i].value));
    }
    for (i = 3; i < 2000; i++) {
        CHECK(walrec_status_str((walrec_status_t)i) != NULL);
        CHECK(walrec_status_str(-(walrec_status_t)i) != NULL);
    }
    CHECK(walrec_status_str(INT32_MAX) != NULL && walrec_status_str(INT32_MIN) != NULL);
    for (reason = 0; reason < 2000; reason++)
        CHECK(walrec_reason_str(reason) != NULL);
    CHECK(walrec_reason_str(UINT32_MAX) != NULL);

    CHECK_U64(64, sizeof(walrec_event_t));
    CHECK_U64(0, offsetof(walrec_event_t, event_id));
    CHECK_U64(8, offsetof(walrec_event_t, timestamp_ns));
    CHECK_U64(16, offsetof(walrec_event_t, price));
    CHECK_U64(24, offsetof(walrec_event_t, quantity));
    CHECK_U64(32, offsetof(walrec_event_t, user_id));
    CHECK_U64(36, offsetof(walrec_event_t, order_id));
    CHECK_U64(40, offsetof(walrec_event_t, type));
    CHECK_U64(41, offsetof(walrec_event_t, order_type));
    CHECK_U64(42, offsetof(walrec_event_t, side));
    CHECK_U64(43, offsetof(walrec_event_t, user_bytes));
    CHECK_U64(60, offsetof(walrec_event_t, guard));

    CHECK_U64(144, sizeof(walrec_config_t));
    CHECK_U64(4, offsetof(walrec_config_t, flags));
    CHECK_U64(8, offsetof(walrec_config_t, num_blocks));
    CHECK_U64(40, offsetof(walrec_config_t, cpu_prepare));
    CHECK_U64(56, offsetof(walrec_config_t, stage_dir));
    CHECK_U64(64, offsetof(walrec_config_t, log_cb));
    CHECK_U64(72, offsetof(walrec_config_t, log_user));
    CHECK_U64(80, offsetof(walrec_config_t, retention_floor));
    CHECK_U64(88, offsetof(walrec_config_t, reserved));

    CHECK_U64(16, sizeof(walrec_meta_state_t));
    CHECK_U64(4, offsetof(walrec_meta_state_t, last_offset));
    CHECK_U64(8, offsetof(walrec_meta_state_t, last_event_id));

    CHECK_U64(128, sizeof(walrec_open_report_t));
    CHECK_U64(8, offsetof(walrec_open_report_t, first_event_id));
    CHECK_U64(24, offsetof(walrec_open_report_t, events_from_stage));
    CHECK_U64(48, offsetof(walrec_open_report_t, cut_segment));
    CHECK_U64(72, offsetof(walrec_open_report_t, recovery_ns));

    CHECK(WALREC_KEEP_ALL == UINT32_MAX);
    CHECK(WALREC_FLAG_REQUIRE_SHM == 1 && WALREC_FLAG_NO_COMPRESS == 2 && WALREC_FLAG_SALVAGE == 4);
    CHECK(WALREC_OPEN_STAGE_MISSING == 1 && WALREC_OPEN_STAGE_ON_DISK == 2);
    CHECK(WALREC_OPEN_STAGE_SET_ASIDE == 4 && WALREC_OPEN_CUT == 8);
    CHECK(WALREC_OPEN_SALVAGED == 16 && WALREC_OPEN_NOT_LOCKED_IN_MEMORY == 32);
    CHECK(WALREC_FULL_WAIT == 0 && WALREC_FULL_FAIL == 1);
    return check_end();
}
