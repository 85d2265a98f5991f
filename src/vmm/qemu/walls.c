/* The walls around a QEMU: see walls.h. */
#include "vmm/qemu/walls.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define OPEN_MOST 1024   /* descriptors */
#define THREADS_MOST 512 /* besides vCPUs; those of a user, so of hosts in a lab, add up */

static void add_path(struct qemu_walls *walls, const char *path, enum confine_access access)
{
    walls->paths[walls->confinement.path_count++] = (struct confine_path){path, access};
}

/* Programs, libraries and ROMs; its own run folder and memory. Disks, taps, kernels and its log it
 * is given open. On /dev/null it finds out whether the kernel has locks of open files, which those
 * of its images then are; the others would be lost with any descriptor that is closed. */
static void add_paths(struct qemu_walls *walls, const struct qemu_machine *machine,
                      const char *preload)
{
    static const struct confine_path libraries[] = {CONFINE_LIBRARIES};
    memcpy(walls->paths, libraries, sizeof(libraries));
    walls->confinement.path_count = CONFINE_LIBRARY_PATHS;
    if (preload[0]) {
        snprintf(walls->preload_folder, sizeof(walls->preload_folder), "%.*s",
                 (int)(strrchr(preload, '/') - preload), preload);
        add_path(walls, walls->preload_folder, CONFINE_READ);
    }
    add_path(walls, "/dev/null", CONFINE_DEVICE);
    add_path(walls, machine->run_folder, CONFINE_WRITE);
    add_path(walls, machine->ram_path, CONFINE_WRITE);
    if (machine->accelerator == QEMU_ACCELERATOR_KVM) {
        add_path(walls, "/dev/kvm", CONFINE_DEVICE);
    }
}

void qemu_walls_build(struct qemu_walls *walls, const struct qemu_machine *machine,
                      const char *preload)
{
    const struct confine_limit limits[QEMU_WALLS_LIMITS_MOST] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, OPEN_MOST},
        {RLIMIT_NPROC, THREADS_MOST + machine->vcpus}};
    memcpy(walls->limits, limits, sizeof(limits));
    walls->confinement = (struct confinement){
        .paths = walls->paths,
        .limits = walls->limits,
        .limit_count = QEMU_WALLS_LIMITS_MOST,
        .has_proc = true, /* it opens kernels by their names there */
    };
    add_paths(walls, machine, preload);
}
