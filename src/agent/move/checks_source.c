/* What the source of a move can tell by itself: see checks.h. */
#include <string.h>

#include "agent/move/check_list.h"
#include "agent/move/checks.h"
#include "agent/move/engine_choice.h"

#define BLACKOUT_LEAST_LIKELY_MS 10 /* device state alone takes about that long */
#define BLACKOUT_NOTICED_MS 1000
#define BLACKOUT_MOST_MS 60000

static void check_state(const struct checks_move *move, json_t *list)
{
    const char *name = move->config->name;
    if (strcmp(move->vm_state, "running") == 0) {
        check_add(list, CHECK_OK, "state", "", "%s is running", name);
    } else if (strcmp(move->vm_state, "migrating") == 0) {
        check_add(list, CHECK_BLOCK, "state", "wait for the move to end, or cancel its task",
                  "%s is being moved already", name);
    } else {
        check_add(list, CHECK_BLOCK, "state",
                  "a live migration takes a running VM; one that is stopped can be started on the "
                  "other host",
                  "%s is %s, not running", name, move->vm_state);
    }
}

static void check_devices(const struct checks_move *move, json_t *list)
{
    const struct vm_config *config = move->config;
    for (size_t i = 0; i < config->device_count; i++) {
        check_add(list, CHECK_BLOCK, "device",
                  "remove the device from the VM's definition and restart the VM, or leave it here",
                  "%s has the host's device %s, which cannot move", config->name,
                  config->devices[i]);
    }
}

static void check_blackout(const struct checks_move *move, json_t *list)
{
    unsigned long long target = move->blackout_ms;
    if (target == 0 || target > BLACKOUT_MOST_MS) {
        check_add(list, CHECK_BLOCK, "blackout", "give 1 to 60000 ms; 50 ms suits most VMs",
                  "a blackout target of %llu ms is not possible", target);
    } else if (target < BLACKOUT_LEAST_LIKELY_MS) {
        check_add(list, CHECK_WARN, "blackout", "give 20 ms or more",
                  "a blackout target of %llu ms is less than the device state takes: the move may "
                  "never get there",
                  target);
    } else if (target > BLACKOUT_NOTICED_MS) {
        check_add(list, CHECK_WARN, "blackout", "give 50 ms unless the link is slow",
                  "with a blackout target of %llu ms users may notice the move", target);
    } else {
        check_add(list, CHECK_OK, "blackout", "", "the blackout target is %llu ms", target);
    }
}

/* Said beforehand: users may notice such a move. */
static void check_timeout(const struct checks_move *move, json_t *list)
{
    if (move->stop_at_timeout) {
        check_add(list, CHECK_WARN, "time limit", "leave it here instead: --on-timeout abort",
                  "at the time limit, after %llu s, %s is moved with a longer blackout",
                  (unsigned long long)move->timeout_s, move->config->name);
    }
}

json_t *checks_of_source(const struct checks_move *move)
{
    json_t *list = json_array();
    check_state(move, list);
    check_destination_is_another(move, list);
    check_devices(move, list);
    engine_choice_check(move, list);
    check_blackout(move, list);
    check_timeout(move, list);
    return list;
}
