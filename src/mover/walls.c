/* The walls that a mover is started behind: see walls.h. */
#include "mover/walls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define OPEN_MOST 256    /* descriptors: what it is given, and a connection for each lane */
#define THREADS_MOST 512 /* those of a user, so of hosts in a lab, add up */
#define DATA_MOST ((uint64_t)2 << 30)
#define DATA_SHARE 64 /* of the guest's memory, on top: sets of its pages, for each lane */

/* All that it may see, for as long as it takes to load it. */
static int choose_paths(struct mover_walls *walls, const char *program, struct error *err)
{
    static const struct confine_path libraries[] = {CONFINE_LIBRARIES};
    if (!realpath(program, walls->folder)) {
        return error_set_errno(err, errno, "cannot start %s", program);
    }
    *strrchr(walls->folder, '/') = '\0';
    memcpy(walls->paths, libraries, sizeof(libraries));
    walls->paths[CONFINE_LIBRARY_PATHS] = (struct confine_path){walls->folder, CONFINE_READ};
    return 0;
}

static void choose_limits(struct mover_walls *walls, const struct mover_setup *setup)
{
    const struct confine_limit limits[MOVER_WALLS_LIMITS_MOST] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, OPEN_MOST},
        {RLIMIT_NPROC, THREADS_MOST},
        {RLIMIT_DATA, DATA_MOST + setup->memory_size / DATA_SHARE}};
    memcpy(walls->limits, limits, sizeof(limits));
}

/* Who listens, or only looks, needs no network to do so: the sockets that it was given are of the
 * host's. The source connects by itself, again and again where it must. */
int mover_walls_build(struct mover_walls *walls, const struct mover_setup *setup,
                      const char *program, struct error *err)
{
    int result = choose_paths(walls, program, err);
    if (result < 0) {
        return result;
    }
    choose_limits(walls, setup);
    walls->confinement = (struct confinement){
        .paths = walls->paths,
        .path_count = CONFINE_LIBRARY_PATHS + 1,
        .limits = walls->limits,
        .limit_count = MOVER_WALLS_LIMITS_MOST,
        .keeps_network = setup->role == MOVER_ROLE_SOURCE,
        .may_chroot = true,
    };
    return 0;
}
