/* New lease settings: refused while anybody uses the datastore, and epochs go on. */
#include "lease_world.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/lease_change.h"

#define MS NANOSECONDS_PER_MILLISECOND

static const struct lease_settings quick = {LEASE_FILE, 100 * MS, 400 * MS, 1400 * MS};

static bool go_on(void *context, uint64_t left_ns)
{
    int *asked = context;
    (void)left_ns;
    ++*asked;
    return true;
}

static bool give_up(void *context, uint64_t left_ns)
{
    (void)context;
    return left_ns == 0;
}

static int change(const struct datastore *datastore, const struct lease_settings *settings,
                  struct error *err)
{
    int asked = 0;
    return lease_change(datastore, settings, go_on, &asked, err);
}

static struct datastore reopen(void)
{
    struct error err = ERROR_NONE;
    struct datastore datastore;
    const struct datastore *before = world_datastore();
    assert_int_equal(datastore_open(before->name, before->path, &datastore, &err), 0);
    assert_string_equal(datastore.uuid, before->uuid);
    return datastore;
}

static void make_definition(void)
{
    world_write("web1/vm.json", "{}", 2); /* bad, but a VM's: it counts */
}

static void a_datastore_at_rest_gets_new_settings(void **state)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    (void)state;
    make_definition();
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    assert_int_equal(world_advance(1, 1, ""), 0);
    assert_int_equal(change(world_datastore(), &quick, &err), 0);
    struct datastore changed = reopen();
    assert_true(lease_settings_equal(&changed.lease, &quick));
    assert_int_equal(lease_read(&changed, "web1", &lease, &err), 0);
    assert_int_equal(lease.epoch, 2);
    assert_int_equal(lease_read(world_datastore(), "web1", &lease, &err), -ESTALE);
}

static void an_owned_vm_keeps_the_settings(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    make_definition();
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    assert_int_equal(change(world_datastore(), &quick, &err), -EBUSY);
    assert_non_null(strstr(err.message, "VM web1"));
    assert_non_null(strstr(err.message, "host h1"));
    struct datastore unchanged = reopen();
    assert_true(lease_settings_equal(&unchanged.lease, &world_datastore()->lease));
}

/* To times that let the test be short, then from those to others while a host beats or has beaten.
 */
static void a_host_that_beats_keeps_the_settings(void **state)
{
    struct error err = ERROR_NONE;
    struct renewal *renewal;
    uint64_t proven;
    int asked = 0;
    (void)state;
    assert_int_equal(change(world_datastore(), &quick, &err), 0);
    struct datastore datastore = reopen();
    pid_t beating = fork();
    if (beating == 0) {
        if (renewal_open(&datastore, "h1", "machine1", NULL, &renewal, NULL) < 0) {
            _exit(1);
        }
        while (renewal_renew(renewal, &proven, NULL) == 0) {
            clock_sleep_ns(datastore.lease.heartbeat_ns);
        }
        _exit(0);
    }
    clock_sleep_ns(3 * datastore.lease.heartbeat_ns);
    assert_int_equal(change(&datastore, &world_datastore()->lease, &err), -EBUSY);
    assert_non_null(strstr(err.message, "host h1 beats"));
    kill(beating, SIGKILL);
    waitpid(beating, NULL, 0);
    assert_int_equal(lease_change(&datastore, &world_datastore()->lease, give_up, NULL, &err),
                     -ECANCELED);
    assert_int_equal(lease_change(&datastore, &world_datastore()->lease, go_on, &asked, &err), 0);
    assert_true(asked > 10); /* it watched for the take-over time */
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        world_test(a_datastore_at_rest_gets_new_settings),
        world_test(an_owned_vm_keeps_the_settings),
        world_test(a_host_that_beats_keeps_the_settings),
    };
    return world_run(tests, argc, argv);
}
