/* What this host's QEMU and kernel can do: see capabilities.h. */
#include "vmm/qemu/capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/kernel.h"
#include "vmm/qemu/qmp.h"

#define START_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)
#define TRACKER_FEATURES                                                \
    (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
     UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC)

/* ---- the kernel: tried on a page of our own ---- */

static int try_scan(uint64_t address, size_t size)
{
    CLEANUP_CLOSE int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct page_region region;
    struct pm_scan_arg scan = {.size = sizeof(scan),
                               .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                               .start = address,
                               .end = address + size,
                               .vec = (uint64_t)(uintptr_t)&region,
                               .vec_len = 1,
                               .category_mask = PAGE_IS_WRITTEN,
                               .return_mask = PAGE_IS_WRITTEN};
    return pagemap < 0 || ioctl(pagemap, PAGEMAP_SCAN, &scan) < 0 ? -errno : 0;
}

static int try_tracking(int userfaultfd, uint64_t address, size_t size)
{
    struct uffdio_api api = {.api = UFFD_API, .features = TRACKER_FEATURES};
    struct uffdio_register range = {.range = {address, size}, .mode = UFFDIO_REGISTER_MODE_WP};
    if (ioctl(userfaultfd, UFFDIO_API, &api) < 0 ||
        ioctl(userfaultfd, UFFDIO_REGISTER, &range) < 0) {
        return -errno;
    }
    return try_scan(address, size);
}

/* Why Drover's engine cannot run here, or "". */
static const char *engine_obstacle(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    CLEANUP_CLOSE int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        return "the kernel has no /dev/userfaultfd (Linux 6.1, CONFIG_USERFAULTFD)";
    }
    CLEANUP_CLOSE int userfaultfd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (userfaultfd < 0 || page == MAP_FAILED) {
        return "a userfaultfd cannot be made from /dev/userfaultfd";
    }
    int result = try_tracking(userfaultfd, (uint64_t)(uintptr_t)page, size);
    munmap(page, size);
    return result < 0 ? "the kernel cannot track writes asynchronously (PAGEMAP_SCAN, Linux 6.7)"
                      : "";
}

static int add_kernel(json_t *capabilities)
{
    struct utsname kernel;
    const char *obstacle = engine_obstacle();
    uname(&kernel);
    json_object_set_new(capabilities, "kernel", json_string(kernel.release));
    json_object_set_new(capabilities, "engine", json_string(*obstacle ? "native" : "drover"));
    return json_object_set_new(capabilities, "engine_reason", json_string(obstacle));
}

/* ---- QEMU: asked over QMP ---- */

static int add_version(struct qmp *qmp, json_t *capabilities, struct error *err)
{
    CLEANUP_JSON json_t *value = NULL;
    int major;
    int minor;
    int micro;
    int result = qmp_execute(qmp, "query-version", NULL, QMP_TIMEOUT_NS, &value, err);
    if (result < 0) {
        return result;
    }
    if (json_unpack(value, "{s:{s:i,s:i,s:i}}", "qemu", "major", &major, "minor", &minor, "micro",
                    &micro) < 0) {
        return error_set(err, EPROTO, "QEMU's answer to query-version is not understood");
    }
    return json_object_set_new(capabilities, "qemu_version",
                               json_sprintf("%d.%d.%d", major, minor, micro));
}

static int add_machine_types(struct qmp *qmp, json_t *capabilities, struct error *err)
{
    CLEANUP_JSON json_t *machines = NULL;
    size_t index;
    json_t *machine;
    int result = qmp_execute(qmp, "query-machines", NULL, QMP_TIMEOUT_NS, &machines, err);
    if (result < 0) {
        return result;
    }
    json_t *names = json_array();
    json_array_foreach (machines, index, machine) {
        const char *name = json_string_value(json_object_get(machine, "name"));
        if (name && strcmp(name, "none") != 0) {
            json_array_append_new(names, json_string(name));
        }
    }
    return json_object_set_new(capabilities, "machine_types", names);
}

/* "max" and "host" mean another CPU on every host: no VM of Drover's uses them. */
static int add_cpu_models(struct qmp *qmp, json_t *capabilities, struct error *err)
{
    CLEANUP_JSON json_t *models = NULL;
    size_t index;
    json_t *model;
    int result = qmp_execute(qmp, "query-cpu-definitions", NULL, QMP_TIMEOUT_NS, &models, err);
    if (result < 0) {
        return result;
    }
    json_t *missing_by_name = json_object();
    json_array_foreach (models, index, model) {
        const char *name = json_string_value(json_object_get(model, "name"));
        json_t *missing = json_object_get(model, "unavailable-features");
        if (name && missing && json_is_true(json_object_get(model, "migration-safe"))) {
            json_object_set(missing_by_name, name, missing);
        }
    }
    return json_object_set_new(capabilities, "cpu_models", missing_by_name);
}

static int ask_qemu(const char *socket_path, json_t *capabilities, struct error *err)
{
    CLEANUP_QMP struct qmp qmp;
    int result = qmp_connect(&qmp, socket_path, START_TIMEOUT_NS, err);
    if (result == 0) {
        result = add_version(&qmp, capabilities, err);
    }
    if (result == 0) {
        result = add_machine_types(&qmp, capabilities, err);
    }
    if (result == 0) {
        result = add_cpu_models(&qmp, capabilities, err);
    }
    return result;
}

/* A QEMU without a machine, for as long as `socket_path` is asked. */
static int start_and_ask(enum qemu_accelerator accelerator, const char *socket_path,
                         json_t *capabilities, struct error *err)
{
    CLEANUP_FREE char *monitor = file_path("unix:%s,server=on,wait=off", socket_path);
    const char *const arguments[] = {"qemu-system-x86_64",
                                     "-nodefaults",
                                     "-no-user-config",
                                     "-machine",
                                     "none",
                                     "-accel",
                                     qemu_accelerator_name(accelerator),
                                     "-display",
                                     "none",
                                     "-qmp",
                                     monitor,
                                     NULL};
    struct process_spec spec = {.arguments = arguments, .log_path = "/dev/null"};
    struct process_identity process;
    int result = monitor ? process_start(&spec, &process, err)
                         : error_set_errno(err, ENOMEM, "cannot start QEMU");
    if (result < 0) {
        return result == -ENOENT ? error_remedy(err, "install qemu-system-x86") : result;
    }
    result = ask_qemu(socket_path, capabilities, err);
    process_kill(&process, NULL);
    return result;
}

int qemu_capabilities_probe(enum qemu_accelerator accelerator, json_t **ret_capabilities,
                            struct error *err)
{
    char folder[] = "/tmp/drover-probe-XXXXXX";
    CLEANUP_JSON json_t *capabilities =
        json_pack("{s:s}", "accelerator", qemu_accelerator_name(accelerator));
    if (!capabilities || !mkdtemp(folder)) {
        return error_set_errno(err, errno, "cannot ask QEMU what it can do");
    }
    CLEANUP_FREE char *socket_path = file_path("%s/qmp.sock", folder);
    int result = socket_path ? start_and_ask(accelerator, socket_path, capabilities, err)
                             : error_set_errno(err, ENOMEM, "cannot ask QEMU what it can do");
    file_remove_tree(folder, NULL);
    if (result < 0) {
        return error_wrap(err, "cannot learn what QEMU can do on this host");
    }
    if (add_kernel(capabilities) < 0) {
        return error_set_errno(err, ENOMEM, "cannot learn what this host can do");
    }
    *ret_capabilities = steal_pointer(&capabilities);
    return 0;
}
