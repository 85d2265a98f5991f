/* What a started process gives up: see confine.h. */
#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define STAGING                                                                      \
    "/tmp" /* any folder that is always there: the new root is mounted over it first \
            */
#define PATH_SIZE 512
#define CHROOT_BIT (1u << CAP_SYS_CHROOT)

/* ---- resources ---- */

static int limit_resources(const struct confinement *confinement)
{
    for (size_t i = 0; i < confinement->limit_count; i++) {
        const struct confine_limit *limit = &confinement->limits[i];
        struct rlimit now;
        if (getrlimit((__rlimit_resource_t)limit->resource, &now) < 0) {
            return -errno;
        }
        if (limit->most < now.rlim_max) {
            now.rlim_max = limit->most;
        }
        now.rlim_cur = now.rlim_max;
        if (setrlimit((__rlimit_resource_t)limit->resource, &now) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* ---- files ---- */

/* A path on its way into the new root. */
struct piece {
    int tree;             /* a copy of its mount, attached nowhere yet; -1: none */
    bool is_folder;       /* of a tree */
    char link[PATH_SIZE]; /* where a symbolic link points to; empty: it is none */
};

static uint64_t mount_attributes(enum confine_access access)
{
    switch (access) {
    case CONFINE_READ:
        return MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    case CONFINE_WRITE:
        return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    default:
        return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    }
}

static int take_tree(const struct confine_path *path, struct piece *piece)
{
    struct stat status;
    struct mount_attr attributes = {.attr_set = mount_attributes(path->access)};
    piece->tree =
        open_tree(AT_FDCWD, path->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (piece->tree < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (fstat(piece->tree, &status) < 0 ||
        mount_setattr(piece->tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                      sizeof(attributes)) < 0) {
        return -errno;
    }
    piece->is_folder = S_ISDIR(status.st_mode);
    return 0;
}

static int take_piece(const struct confine_path *path, struct piece *piece)
{
    ssize_t length = readlink(path->path, piece->link, sizeof(piece->link) - 1);
    piece->tree = -1;
    piece->link[length > 0 ? length : 0] = '\0';
    return length > 0 ? 0 : take_tree(path, piece);
}

static int make_parents(char *path)
{
    for (char *slash = strchr(path + strlen(STAGING "/"), '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int result = mkdir(path, 0755);
        *slash = '/';
        if (result < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

static int put_tree(const struct piece *piece, const char *target)
{
    int made = piece->is_folder ? mkdir(target, 0755) : mknod(target, S_IFREG | 0444, 0);
    if (made < 0 && errno != EEXIST) {
        return -errno;
    }
    return move_mount(piece->tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int put_piece(const struct confine_path *path, const struct piece *piece)
{
    char target[PATH_SIZE] = STAGING;
    if (piece->tree < 0 && !piece->link[0]) {
        return 0;
    }
    if (strlen(path->path) >= sizeof(target) - strlen(STAGING)) {
        return -ENAMETOOLONG;
    }
    strcat(target, path->path);
    int result = make_parents(target);
    if (result < 0) {
        return result;
    }
    if (piece->link[0]) {
        return symlink(piece->link, target) < 0 && errno != EEXIST ? -errno : 0;
    }
    return put_tree(piece, target);
}

static int put_pieces(const struct confinement *confinement, const struct piece *pieces)
{
    for (size_t i = 0; i < confinement->path_count; i++) {
        int result = put_piece(&confinement->paths[i], &pieces[i]);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int put_proc(const struct confinement *confinement)
{
    if (!confinement->has_proc) {
        return 0;
    }
    return mkdir(STAGING "/proc", 0555) < 0 ||
                   mount("proc", STAGING "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                         "hidepid=2,subset=pid") < 0
               ? -errno
               : 0;
}

/* From here on what was the root is reached by no name, and unmounted as far as we are concerned.
 */
static int change_root(void)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    if (mount_setattr(AT_FDCWD, STAGING, 0, &attributes, sizeof(attributes)) < 0 ||
        chdir(STAGING) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return 0;
}

static int enter_files(const struct confinement *confinement)
{
    struct piece pieces[CONFINE_PATHS_MOST];
    if (confinement->path_count > CONFINE_PATHS_MOST) {
        return -E2BIG;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < confinement->path_count; i++) {
        int result = take_piece(&confinement->paths[i], &pieces[i]);
        if (result < 0) {
            return result;
        }
    }
    if (mount("drover-root", STAGING, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k") < 0 ||
        mkdir(STAGING CONFINE_EMPTY_FOLDER, 0555) < 0) {
        return -errno;
    }
    int result = put_pieces(confinement, pieces);
    if (result == 0) {
        result = put_proc(confinement);
    }
    return result < 0 ? result : change_root();
}

int confine_enter(const struct confinement *confinement, const char **ret_doing)
{
    int namespaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    *ret_doing = "cannot limit its resources";
    int result = limit_resources(confinement);
    if (result < 0) {
        return result;
    }
    *ret_doing = "cannot give it namespaces of its own";
    if (unshare(namespaces | (confinement->keeps_network ? 0 : CLONE_NEWNET)) < 0) {
        return -errno;
    }
    *ret_doing = "cannot give it a root of its own";
    return enter_files(confinement);
}

/* ---- privileges ---- */

struct capabilities {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct sets[2];
};

static int read_capabilities(struct capabilities *capabilities)
{
    *capabilities = (struct capabilities){.header = {.version = _LINUX_CAPABILITY_VERSION_3}};
    return syscall(SYS_capget, &capabilities->header, capabilities->sets) < 0 ? -errno : 0;
}

static int write_capabilities(struct capabilities *capabilities)
{
    return syscall(SYS_capset, &capabilities->header, capabilities->sets) < 0 ? -errno : 0;
}

/* Only what is in the bounding set can become inheritable, so this comes before that is emptied. */
static int make_chroot_inheritable(void)
{
    struct capabilities all;
    int result = read_capabilities(&all);
    if (result < 0) {
        return result;
    }
    all.sets[0].inheritable = CHROOT_BIT;
    all.sets[1].inheritable = 0;
    result = write_capabilities(&all);
    return result == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ? -errno : result;
}

/* The ambient set is what survives exec of a program without capabilities of its own. */
static int keep_only_chroot(void)
{
    struct capabilities one = {.header = {.version = _LINUX_CAPABILITY_VERSION_3},
                               .sets = {{CHROOT_BIT, CHROOT_BIT, CHROOT_BIT}}};
    int result = write_capabilities(&one);
    if (result == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_CHROOT, 0, 0) < 0) {
        return -errno;
    }
    return result;
}

static int empty_bounding_set(void)
{
    for (unsigned long bit = 0; prctl(PR_CAPBSET_READ, bit, 0, 0, 0) >= 0; bit++) {
        if (prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* The raw calls: glibc's wrappers would signal threads that this child does not have. */
static int change_user(uid_t uid, gid_t gid)
{
    return syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
                   syscall(SYS_setresuid, uid, uid, uid) < 0
               ? -errno
               : 0;
}

int confine_become(uid_t uid, gid_t gid, const struct confinement *confinement,
                   const char **ret_doing)
{
    bool may_chroot = confinement && confinement->may_chroot;
    *ret_doing = "cannot take its privileges away";
    int result = may_chroot ? make_chroot_inheritable() : 0;
    if (result == 0) {
        result = empty_bounding_set();
    }
    if (result == 0) {
        result = change_user(uid, gid);
    }
    if (result == 0 && may_chroot) {
        result = keep_only_chroot();
    }
    return result == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : result;
}

/* ---- in the program ---- */

static bool is_any_left(const struct capabilities *all)
{
    uint32_t left = 0;
    for (size_t i = 0; i < 2; i++) {
        left |= all->sets[i].effective | all->sets[i].permitted | all->sets[i].inheritable;
    }
    return left != 0;
}

int confine_leave_files(struct error *err)
{
    struct capabilities all;
    int result = read_capabilities(&all);
    if (result < 0) {
        return error_set_errno(err, result, "cannot read this process's capabilities");
    }
    if ((all.sets[0].effective & CHROOT_BIT) &&
        (chroot(CONFINE_EMPTY_FOLDER) < 0 || chdir("/") < 0)) {
        return error_set_errno(err, errno, "cannot leave the file system");
    }
    struct capabilities none = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};
    result = write_capabilities(&none);
    if (result == 0) {
        result = read_capabilities(&all);
    }
    if (result < 0) {
        return error_set_errno(err, result, "cannot give up this process's capabilities");
    }
    return is_any_left(&all) ? error_set(err, EPERM, "capabilities are left in this process") : 0;
}
