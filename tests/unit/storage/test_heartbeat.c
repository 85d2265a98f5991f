/*
 * Heartbeats of kind file: who beats is alive, who stands still is dead after the take-over time by
 * the observer's own clock and by nothing else, and of two machines of one name one beats. Time is
 * the test's.
 */
#include "lease_world.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/disk_record.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define HEARTBEAT (500 * MS)
#define TAKEOVER (7000 * MS)
#define BEAT_OF_H1 ".drover/hosts/h1"

/* ---- time, hosts and an observer ---- */

static uint64_t clock_now;

static uint64_t read_clock(void *context)
{
    (void)context;
    return clock_now;
}

static const struct heartbeat_clock test_clock = {.now_ns = read_clock};

static void renewal_cleanup(struct renewal **renewal)
{
    renewal_close(*renewal);
}
#define CLEANUP_RENEWAL CLEANUP(renewal_cleanup)

static void observer_cleanup(struct observer **observer)
{
    observer_close(*observer);
}
#define CLEANUP_OBSERVER CLEANUP(observer_cleanup)

static struct renewal *open_renewal(const char *host, const char *host_id)
{
    struct error err = ERROR_NONE;
    struct renewal *renewal = NULL;
    clock_now += HEARTBEAT;
    if (renewal_open(world_datastore(), host, host_id, &test_clock, &renewal, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return renewal;
}

static struct observer *open_observer(void)
{
    struct error err = ERROR_NONE;
    struct observer *observer = NULL;
    assert_int_equal(observer_open(world_datastore(), &test_clock, &observer, &err), 0);
    return observer;
}

static int try_beat(struct renewal *renewal, struct error *err)
{
    uint64_t proven = 0;
    int result = renewal_renew(renewal, &proven, err);
    assert_int_equal(proven, result == 0 ? clock_now : 0);
    return result;
}

static void beat(struct renewal *renewal)
{
    struct error err = ERROR_NONE;
    if (try_beat(renewal, &err) < 0) {
        fail_msg("%s", err.message);
    }
}

static struct host_sighting look(struct observer *observer, const char *host)
{
    struct error err = ERROR_NONE;
    struct host_sighting sighting;
    if (observer_look(observer, host, &sighting, &err) < 0) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(sighting.host, host);
    return sighting;
}

static void assert_health(struct observer *observer, const char *host, enum host_health health)
{
    assert_string_equal(host_health_name(look(observer, host).health), host_health_name(health));
}

/* ---- judging ---- */

static void a_host_that_beats_is_alive(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    assert_health(observer, "h1", HOST_UNKNOWN); /* one look tells nothing */
    for (int i = 0; i < 50; i++) {
        clock_now += HEARTBEAT;
        beat(h1);
        assert_health(observer, "h1", HOST_ALIVE);
    }
    clock_now += 4 * HEARTBEAT;
    assert_health(observer, "h1", HOST_ALIVE); /* a few may be late */
}

static void a_host_that_stands_still_is_dead_after_the_takeover_time(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    clock_now += HEARTBEAT;
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
    clock_now += 4 * HEARTBEAT + 1;
    assert_health(observer, "h1", HOST_SILENT);
    clock_now += TAKEOVER - 4 * HEARTBEAT - 2;
    assert_health(observer, "h1", HOST_SILENT);
    assert_int_equal(look(observer, "h1").still_ns, TAKEOVER - 1);
    clock_now += 1;
    assert_health(observer, "h1", HOST_DEAD);
}

/* A first look starts the time, however old the beat is by any clock. */
static void an_old_beat_is_not_dead_at_first_sight(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    beat(h1);
    clock_now += 100 * TAKEOVER;
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    assert_health(observer, "h1", HOST_UNKNOWN);
    clock_now += TAKEOVER - 1;
    assert_health(observer, "h1", HOST_SILENT);
    clock_now += 1;
    assert_health(observer, "h1", HOST_DEAD);
}

static void a_host_that_comes_back_is_alive(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    clock_now += 3 * TAKEOVER;
    assert_health(observer, "h1", HOST_DEAD);
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
    assert_int_equal(look(observer, "h1").still_ns, 0);
}

/* Nobody looked for long, but the beat went on: only looks that saw it still count. */
static void an_observer_that_slept_judges_nobody_dead(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    clock_now += 10 * TAKEOVER;
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
}

/* A clock whose every reading comes late: what a look takes must not count as standing still. */
static uint64_t read_slow_clock(void *context)
{
    (void)context;
    clock_now += TAKEOVER;
    return clock_now;
}

static void the_time_of_a_look_does_not_count(void **state)
{
    static const struct heartbeat_clock slow = {.now_ns = read_slow_clock};
    struct error err = ERROR_NONE;
    struct host_sighting sighting;
    struct observer *observer = NULL;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    beat(h1);
    assert_int_equal(observer_open(world_datastore(), &slow, &observer, &err), 0);
    assert_int_equal(observer_look(observer, "h1", &sighting, &err), 0);
    assert_int_equal(sighting.still_ns, 0);
    beat(h1);
    assert_int_equal(observer_look(observer, "h1", &sighting, &err), 0);
    assert_int_equal(sighting.still_ns, 0);
    observer_close(observer);
}

static void a_host_without_a_beat_is_absent_and_in_time_dead(void **state)
{
    (void)state;
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    assert_health(observer, "h1", HOST_ABSENT);
    clock_now += TAKEOVER - 1;
    assert_health(observer, "h1", HOST_ABSENT);
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
    world_remove(BEAT_OF_H1); /* no beat: its host would write it anew */
    assert_health(observer, "h1", HOST_ABSENT);
    clock_now += TAKEOVER;
    assert_health(observer, "h1", HOST_DEAD);
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
}

static void all_hosts_are_listed_in_order(void **state)
{
    struct error err = ERROR_NONE;
    struct host_sighting *sightings = NULL;
    size_t count;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h2 = open_renewal("h2", "machine2");
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    assert_int_equal(observer_look_all(observer, &sightings, &count, &err), 0);
    assert_int_equal(count, 0);
    free(sightings);
    look(observer, "h0");
    beat(h2);
    beat(h1);
    world_write(".drover/hosts/.hidden", "", 0);
    assert_int_equal(observer_look_all(observer, &sightings, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(sightings[0].host, "h0");
    assert_int_equal(sightings[0].health, HOST_ABSENT);
    assert_string_equal(sightings[1].host, "h1");
    assert_int_equal(sightings[1].health, HOST_UNKNOWN);
    assert_string_equal(sightings[2].host, "h2");
    free(sightings);
}

/* ---- damage ---- */

static void a_damaged_beat_stands_still(void **state)
{
    uint8_t bytes[DISK_RECORD_SIZE];
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    clock_now += TAKEOVER - 1;
    memset(bytes, 0x5a, sizeof(bytes));
    static const size_t lengths[] = {0, 1, 511, 512};
    for (size_t i = 0; i < 4; i++) {
        world_write(BEAT_OF_H1, bytes, lengths[i]);
        assert_health(observer, "h1", HOST_SILENT); /* neither alive nor dead by this */
    }
    clock_now += 1;
    assert_health(observer, "h1", HOST_DEAD);
    beat(h1); /* writes it anew */
    assert_health(observer, "h1", HOST_ALIVE);
}

static void a_beat_of_another_host_or_datastore_counts_for_nothing(void **state)
{
    uint8_t bytes[DISK_RECORD_SIZE];
    struct disk_heartbeat record = {.host = "h2",
                                    .host_id = "machine1",
                                    .boot_id = "11111111-2222-3333-4444-555555555555",
                                    .beater = "11111111-2222-3333-4444-555555555555"};
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    clock_now += TAKEOVER;
    strcpy(record.datastore, world_datastore()->uuid);
    disk_heartbeat_encode(&record, bytes);
    world_write(BEAT_OF_H1, bytes, sizeof(bytes));
    assert_health(observer, "h1", HOST_DEAD);
    strcpy(record.host, "h1");
    strcpy(record.datastore, record.boot_id);
    disk_heartbeat_encode(&record, bytes);
    world_write(BEAT_OF_H1, bytes, sizeof(bytes));
    assert_health(observer, "h1", HOST_DEAD);
}

/* A place that does not keep what is written there would let others judge the host dead. */
static void a_beat_that_is_damaged_again_and_again_is_an_error(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    beat(h1);
    world_write(BEAT_OF_H1, "x", 1);
    beat(h1);
    world_write(BEAT_OF_H1, "x", 1);
    assert_int_equal(try_beat(h1, &err), -EBUSY);
    assert_non_null(strstr(err.message, "damaged"));
    clock_now += TAKEOVER;
    beat(h1);
    beat(h1);
    world_write(BEAT_OF_H1, "x", 1);
    beat(h1);
}

static void a_damaged_beat_of_unknown_origin_must_stand_still(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *before = open_renewal("h1", "machine1");
    beat(before);
    world_write(BEAT_OF_H1, "x", 1);
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    assert_int_equal(try_beat(h1, &err), -EBUSY);
    clock_now += TAKEOVER;
    beat(h1);
}

/* ---- two machines, one name ---- */

static void another_machine_of_the_same_name_is_refused(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *first = open_renewal("h1", "machine1");
    CLEANUP_RENEWAL struct renewal *second = open_renewal("h1", "machine2");
    for (int i = 0; i < 40; i++) {
        clock_now += HEARTBEAT;
        beat(first);
        assert_int_equal(try_beat(second, &err), -EBUSY);
    }
    assert_non_null(strstr(err.message, "another machine (machine1) beats as host h1"));
    assert_non_null(strstr(err.remedy, "another name"));
    clock_now += TAKEOVER - 1;
    assert_int_equal(try_beat(second, &err), -EBUSY);
    clock_now += 1;
    beat(second); /* the first is gone for good */
    beat(second);
    assert_int_equal(try_beat(first, &err), -EBUSY); /* or was it? it must not go on */
    assert_non_null(strstr(err.message, "machine2"));
}

static void the_same_machine_goes_on_at_once_after_a_restart(void **state)
{
    (void)state;
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    for (int i = 0; i < 5; i++) {
        CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
        beat(h1);
        look(observer, "h1");
        assert_int_equal(look(observer, "h1").still_ns, 0);
    }
}

/* A machine that was cloned has the same identity; its kernel's run has not. */
static void the_same_machine_waits_after_a_boot(void **state)
{
    struct error err = ERROR_NONE;
    uint8_t bytes[DISK_RECORD_SIZE];
    struct disk_heartbeat record = {.host = "h1",
                                    .host_id = "machine1",
                                    .boot_id = "11111111-2222-3333-4444-555555555555",
                                    .beater = "11111111-2222-3333-4444-555555555555"};
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    beat(h1);
    strcpy(record.datastore, world_datastore()->uuid);
    disk_heartbeat_encode(&record, bytes);
    world_write(BEAT_OF_H1, bytes, sizeof(bytes));
    assert_int_equal(try_beat(h1, &err), -EBUSY);
    assert_non_null(strstr(err.message, "before it was booted"));
    clock_now += TAKEOVER;
    beat(h1);
}

/* ---- what befalls the datastore ---- */

static void a_full_datastore_stops_no_heart(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_RENEWAL struct renewal *h2 = open_renewal("h2", "machine2");
    beat(h1);
    world_fill();
    for (int i = 0; i < 10; i++) {
        beat(h1);
    }
    assert_int_equal(try_beat(h2, &err), -ENOSPC); /* its first one wants room */
    world_restore();
    clock_now += TAKEOVER;
    assert_int_equal(try_beat(h2, &err), -EBUSY); /* what the failure left is not known to be its */
    clock_now += TAKEOVER;
    beat(h2);
}

static void assert_cut_off(struct renewal *renewal, struct observer *observer, int reason)
{
    struct error err = ERROR_NONE;
    struct host_sighting sighting;
    assert_int_equal(try_beat(renewal, &err), reason);
    assert_int_equal(observer_look(observer, "h1", &sighting, &err), reason);
}

/* The time without a look proves nothing: the host is judged by what is seen afterwards. */
static void a_vanished_or_other_datastore_is_noticed(void **state)
{
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    look(observer, "h1");
    world_unmount();
    assert_cut_off(h1, observer, -ESTALE);
    world_restore();
    beat(h1);
    world_mount_other();
    assert_cut_off(h1, observer, -ESTALE);
    world_restore();
    clock_now += 2 * TAKEOVER;
    beat(h1);
    assert_health(observer, "h1", HOST_ALIVE);
}

static void a_readonly_datastore_is_no_place_to_beat(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    world_make_readonly();
    assert_int_equal(try_beat(h1, &err), -EROFS);
    assert_health(observer, "h1", HOST_UNKNOWN);
}

/* Hosts that disagree about the times could run a VM twice. */
static void changed_settings_end_the_beat(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
    CLEANUP_OBSERVER struct observer *observer = open_observer();
    beat(h1);
    world_change_settings("{\"kind\": \"file\", \"takeover_ms\": 6000}");
    assert_cut_off(h1, observer, -ESTALE);
    assert_int_equal(try_beat(h1, &err), -ESTALE);
    assert_non_null(strstr(err.message, "settings were changed"));
}

/* A killed host leaves its last beat, whole: the record is one sector. */
static void a_host_killed_while_it_beats_leaves_a_whole_beat(void **state)
{
    uint64_t proven;
    (void)state;
    for (int round = 0; round < 20; round++) {
        CLEANUP_RENEWAL struct renewal *h1 = open_renewal("h1", "machine1");
        pid_t pid = fork();
        if (pid == 0) {
            while (renewal_renew(h1, &proven, NULL) == 0) {
            }
            _exit(1);
        }
        usleep((useconds_t)(2000 + round * 97));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        beat(h1);
    }
}

static void bad_names_and_local_datastores_have_no_beat(void **state)
{
    struct error err = ERROR_NONE;
    struct renewal *renewal = NULL;
    struct observer *observer = NULL;
    struct datastore local = *world_datastore();
    (void)state;
    assert_int_equal(renewal_open(&local, "../h1", "m", NULL, &renewal, &err), -EINVAL);
    assert_int_equal(renewal_open(&local, "h1", "", NULL, &renewal, &err), -EINVAL);
    local.lease = (struct lease_settings){.kind = LEASE_LOCAL};
    assert_int_equal(renewal_open(&local, "h1", "m", NULL, &renewal, &err), -EINVAL);
    assert_int_equal(observer_open(&local, NULL, &observer, &err), -EINVAL);
    assert_non_null(strstr(err.message, "local"));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        world_test(a_host_that_beats_is_alive),
        world_test(a_host_that_stands_still_is_dead_after_the_takeover_time),
        world_test(an_old_beat_is_not_dead_at_first_sight),
        world_test(a_host_that_comes_back_is_alive),
        world_test(an_observer_that_slept_judges_nobody_dead),
        world_test(the_time_of_a_look_does_not_count),
        world_test(a_host_without_a_beat_is_absent_and_in_time_dead),
        world_test(all_hosts_are_listed_in_order),
        world_test(a_damaged_beat_stands_still),
        world_test(a_beat_of_another_host_or_datastore_counts_for_nothing),
        world_test(a_beat_that_is_damaged_again_and_again_is_an_error),
        world_test(a_damaged_beat_of_unknown_origin_must_stand_still),
        world_test(another_machine_of_the_same_name_is_refused),
        world_test(the_same_machine_goes_on_at_once_after_a_restart),
        world_test(the_same_machine_waits_after_a_boot),
        world_test(a_full_datastore_stops_no_heart),
        world_test(a_vanished_or_other_datastore_is_noticed),
        world_test(a_readonly_datastore_is_no_place_to_beat),
        world_test(changed_settings_end_the_beat),
        world_test(a_host_killed_while_it_beats_leaves_a_whole_beat),
        world_test(bad_names_and_local_datastores_have_no_beat),
    };
    return world_run(tests, argc, argv);
}
