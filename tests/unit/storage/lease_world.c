/* The world of the conformance tests: see lease_world.h. */
#include "lease_world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

#define WORLD_BYTES "16m"
#define JOIN_SECONDS 60

static struct {
    enum lease_kind kind;
    char folder[64]; /* a tmpfs: store/, other/, and view/, where store/ is mounted */
    char view[80];
    struct datastore datastore;
    struct lease_settings settings;
    pid_t daemons[WORLD_HOSTS + 1];
    bool is_covered; /* the view is not the plain store */
} world;

static void require(bool holds, const char *what)
{
    if (!holds) {
        fail_msg("%s: %s", what, strerror(errno));
    }
}

static char *path_of(const char *name)
{
    char *path = file_path("%s/%s", world.folder, name);
    assert_non_null(path);
    return path;
}

static void make_folder(const char *name)
{
    CLEANUP_FREE char *path = path_of(name);
    require(mkdir(path, 0700) == 0, path);
}

static void bind(const char *name)
{
    CLEANUP_FREE char *path = path_of(name);
    require(mount(path, world.view, NULL, MS_BIND, NULL) == 0, path);
}

/* ---- the datastore ---- */

static void make_marker(const char *name, const char *lease)
{
    struct error err = ERROR_NONE;
    char uuid[UUID_TEXT_SIZE];
    uuid_generate(uuid);
    CLEANUP_FREE char *path = file_path("%s/%s/drover-datastore.json", world.folder, name);
    CLEANUP_JSON json_t *settings = json_loads(lease, 0, NULL);
    CLEANUP_JSON json_t *marker =
        json_pack("{s:i, s:s, s:O}", "drover_datastore", 1, "uuid", uuid, "lease", settings);
    assert_int_equal(json_write_file(path, marker, 0600, &err), 0);
}

static void make_store(const char *name)
{
    char lease[64];
    snprintf(lease, sizeof(lease), "{\"kind\": \"%s\"}", lease_kind_name(world.kind));
    make_folder(name);
    make_marker(name, lease);
}

void world_change_settings(const char *lease)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/drover-datastore.json", world.view);
    CLEANUP_JSON json_t *settings = json_loads(lease, 0, NULL);
    CLEANUP_JSON json_t *marker = json_pack("{s:i, s:s, s:O}", "drover_datastore", 1, "uuid",
                                            world.datastore.uuid, "lease", settings);
    assert_int_equal(json_write_file(path, marker, 0600, &err), 0);
}

const struct datastore *world_datastore(void)
{
    return &world.datastore;
}

enum lease_kind world_kind(void)
{
    return world.kind;
}

void world_write(const char *name, const void *bytes, size_t length)
{
    CLEANUP_FREE char *path = file_path("%s/%s", world.view, name);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && file_write_all(fd, bytes, length) == 0, path);
}

void world_remove(const char *name)
{
    CLEANUP_FREE char *path = file_path("%s/%s", world.view, name);
    assert_int_equal(file_remove_tree(path, NULL), 0);
}

int world_advance(int number, uint64_t after, const char *host)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        world_be_host(number);
        _exit(-lease_advance(&world.datastore, "web1", after, host, NULL));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

struct lease world_read(void)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    if (lease_read(&world.datastore, "web1", &lease, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return lease;
}

/* ---- what befalls it ---- */

static void uncover(void)
{
    require(umount2(world.view, MNT_DETACH) == 0, "umount");
    world.is_covered = true;
}

void world_unmount(void)
{
    uncover();
}

void world_mount_other(void)
{
    uncover();
    bind("other");
}

/* A mount of its own: one through which something is open for writing cannot become read-only. */
void world_make_readonly(void)
{
    uncover();
    bind("store");
    require(mount(NULL, world.view, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0, "mount");
}

void world_fill(void)
{
    static const char zeroes[65536];
    CLEANUP_FREE char *path = path_of("ballast");
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    require(fd >= 0, path);
    size_t length = sizeof(zeroes);
    while (length > 0) {
        if (write(fd, zeroes, length) < 0) {
            length /= 2;
        }
    }
    assert_int_equal(errno, ENOSPC);
}

void world_restore(void)
{
    CLEANUP_FREE char *path = path_of("ballast");
    unlink(path);
    if (world.is_covered) {
        while (umount2(world.view, MNT_DETACH) == 0) {
        }
        bind("store");
        world.is_covered = false;
    }
}

/* ---- for each test ---- */

int world_setup(void **state)
{
    CLEANUP_FREE char *path = file_path("%s/web1", world.view);
    CLEANUP_JSON json_t *settings = lease_settings_to_json(&world.datastore.lease);
    CLEANUP_FREE char *lease = json_dumps(settings, 0);
    (void)state;
    world_restore();
    world_be_host(1);
    world_change_settings(lease);
    return mkdir(path, 0700);
}

int world_teardown(void **state)
{
    CLEANUP_FREE char *vm = path_of("store/web1");
    CLEANUP_FREE char *hosts = path_of("store/.drover/hosts");
    (void)state;
    world_restore();
    return file_remove_tree(vm, NULL) < 0 || file_remove_tree(hosts, NULL) < 0 ? -1 : 0;
}

/* ---- the sanlock daemons ---- */

void world_be_host(int number)
{
    char folder[80];
    snprintf(folder, sizeof(folder), "%s/run%d", world.folder, number);
    setenv("SANLOCK_RUN_DIR", folder, 1);
    setenv("SANLOCK_PRIVILEGED", "0", 1);
}

void world_start_daemon(int number)
{
    char name[16];
    snprintf(name, sizeof(name), "host%d", number);
    world_be_host(number);
    world.daemons[number] = fork();
    if (world.daemons[number] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CLEANUP_FREE char *log = file_path("%s/run%d.log", world.folder, number);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execlp("sanlock", "sanlock", "daemon", "-D", "-w", "0", "-h", "0", "-l", "0", "-U", "root",
               "-G", "root", "-L", "-1", "-S", "-1", "-e", name, NULL);
        _exit(127);
    }
}

void world_kill_daemon(int number)
{
    kill(world.daemons[number], SIGKILL);
    waitpid(world.daemons[number], NULL, 0);
    world.daemons[number] = 0;
}

struct renewal *world_renewal(int number)
{
    struct error err = ERROR_NONE;
    struct renewal *renewal = NULL;
    uint64_t proven;
    char host[16];
    snprintf(host, sizeof(host), "h%d", number);
    world_be_host(number);
    assert_int_equal(renewal_open(&world.datastore, host, host, NULL, &renewal, &err), 0);
    uint64_t deadline = clock_monotonic_ns() + JOIN_SECONDS * NANOSECONDS_PER_SECOND;
    while (renewal_renew(renewal, &proven, &err) < 0) {
        if (clock_monotonic_ns() > deadline) {
            fail_msg("%s", err.message);
        }
        clock_sleep_ns(NANOSECONDS_PER_SECOND / 10);
    }
    return renewal;
}

static pid_t start_host(int number)
{
    char folder[8];
    snprintf(folder, sizeof(folder), "run%d", number);
    make_folder(folder);
    world_start_daemon(number);
    pid_t pid = fork();
    if (pid == 0) {
        renewal_close(world_renewal(number));
        _exit(0);
    }
    return pid;
}

static const char *start_hosts(void)
{
    pid_t joining[WORLD_HOSTS];
    signal(SIGPIPE, SIG_IGN); /* storage/paxos.h */
    if (system("command -v sanlock >/dev/null") != 0) {
        return "sanlock is not installed";
    }
    for (int i = 0; i < WORLD_HOSTS; i++) {
        joining[i] = start_host(i + 1);
    }
    for (int i = 0; i < WORLD_HOSTS; i++) {
        int status;
        assert_int_equal(waitpid(joining[i], &status, 0), joining[i]);
        assert_int_equal(status, 0);
    }
    return NULL;
}

/* ---- for the program ---- */

static const char *take_kind(int argc, char **argv)
{
    for (int kind = LEASE_LOCAL; argc == 2 && kind <= LEASE_SANLOCK; kind++) {
        if (strcmp(argv[1], lease_kind_name((enum lease_kind)kind)) == 0) {
            world.kind = (enum lease_kind)kind;
            return NULL;
        }
    }
    return "the program wants a kind of lease as its argument";
}

static const char *world_begin(int argc, char **argv)
{
    struct error err = ERROR_NONE;
    const char *problem = take_kind(argc, argv);
    if (problem) {
        return problem;
    }
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return "mounting wants root";
    }
    snprintf(world.folder, sizeof(world.folder), "/tmp/drover-unit-XXXXXX");
    require(mkdtemp(world.folder) != NULL, world.folder);
    require(mount("tmpfs", world.folder, "tmpfs", 0, "size=" WORLD_BYTES) == 0, "mount");
    snprintf(world.view, sizeof(world.view), "%s/view", world.folder);
    make_folder("view");
    make_store("store");
    make_store("other");
    bind("store");
    assert_int_equal(datastore_open("store", world.view, &world.datastore, &err), 0);
    return world.kind == LEASE_SANLOCK ? start_hosts() : NULL;
}

static void world_end(void)
{
    for (int number = 1; number <= WORLD_HOSTS; number++) {
        if (world.daemons[number] > 0) {
            world_kill_daemon(number);
        }
    }
    if (world.folder[0]) {
        umount2(world.folder, MNT_DETACH);
        rmdir(world.folder);
    }
}

/* Every test skipped, in TAP of our own: cmocka's skip() says "not ok". */
static int skip_all(const struct CMUnitTest *tests, size_t count, const char *reason)
{
    printf("1..%zu\n", count);
    for (size_t i = 0; i < count; i++) {
        printf("ok %zu - %s # SKIP %s\n", i + 1, tests[i].name, reason);
    }
    return 0;
}

int world_run_tests(const struct CMUnitTest *tests, size_t count, int argc, char **argv)
{
    const char *problem = world_begin(argc, argv);
    int result = problem ? skip_all(tests, count, problem)
                         : _cmocka_run_group_tests(argv[0], tests, count, NULL, NULL);
    world_end();
    return result;
}
