/* The guest's NICs: see taps.h. */
#include "mover/taps.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/tap.h"

void taps_set_carrier(const struct taps *taps, bool carrier)
{
    for (size_t i = 0; i < taps->count; i++) {
        struct error err = ERROR_NONE;
        if (tap_set_carrier(taps->nics[i].tap_fd, carrier, &err) < 0) {
            log_error("NIC %s: %s", taps->nics[i].mac, err.message);
        }
    }
}

void taps_announce(const struct taps *taps)
{
    for (size_t i = 0; i < taps->count; i++) {
        struct error err = ERROR_NONE;
        uint8_t mac[6];
        if (mac_parse(taps->nics[i].mac, mac, &err) < 0 ||
            tap_announce(taps->nics[i].tap_fd, mac, &err) < 0) {
            log_warning("NIC %s is not announced: %s", taps->nics[i].mac, err.message);
        }
    }
}

void taps_announce_repeatedly(const struct taps *taps)
{
    static const unsigned pauses_ms[] = {5, 20, 50, 100, 200, 400, 800};
    for (size_t i = 0; taps->count > 0 && i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
        clock_sleep_ns(pauses_ms[i] * NANOSECONDS_PER_MILLISECOND);
        taps_announce(taps);
    }
}
