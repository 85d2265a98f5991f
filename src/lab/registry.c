/* Labs between two commands: see registry.h. */
#include "lab/registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "lab/folder.h"
#include "lab/mount_points.h"

#define STATE_BYTES_MOST ((size_t)256 << 10)
#define STATE_VERSION 1

static void state_path(const struct lab *lab, char path[LAB_PATH_SIZE])
{
    snprintf(path, LAB_PATH_SIZE, LAB_CONTROL_ROOT "/%s/lab.json", lab->name);
}

static void control_path(const char *name, char path[LAB_PATH_SIZE])
{
    snprintf(path, LAB_PATH_SIZE, LAB_CONTROL_ROOT "/%s", name);
}

static int check_name(const char *name, struct error *err)
{
    if (!file_name_is_safe(name) || strlen(name) > LAB_NAME_MOST) {
        error_set(err, EINVAL, "\"%s\" cannot be the name of a lab", name);
        return error_remedy(err, "use 1 to %d letters, digits, dots and dashes", LAB_NAME_MOST);
    }
    return 0;
}

static int no_such_lab(const char *name, struct error *err)
{
    char names[256] = "";
    CLEANUP_DIRECTORY DIR *root = opendir(LAB_CONTROL_ROOT);
    for (struct dirent *entry; root && (entry = readdir(root));) {
        size_t used = strlen(names);
        if (entry->d_name[0] != '.') {
            snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", entry->d_name);
        }
    }
    error_set(err, ENOENT, "there is no lab named %s", name);
    return names[0] ? error_remedy(err, "labs that there are: %s", names)
                    : error_remedy(err, "\"drover lab up\" makes one");
}

/* ---- lab.json ---- */

static json_t *node_to_json(const struct lab_node *node)
{
    return json_pack("{s:s,s:i,s:I}", "name", node->name, "pid", (int)node->init.pid, "start_time",
                     (json_int_t)node->init.start_time);
}

int registry_save(const struct lab *lab, struct error *err)
{
    char path[LAB_PATH_SIZE];
    CLEANUP_JSON json_t *nodes = json_array();
    for (size_t i = 0; i < lab->node_count; i++) {
        json_array_append_new(nodes, node_to_json(&lab->nodes[i]));
    }
    CLEANUP_JSON json_t *state =
        json_pack("{s:i,s:s,s:s,s:b,s:i,s:O}", "version", STATE_VERSION, "folder", lab->folder,
                  "state", lab->state == LAB_UP ? "up" : "starting", "agents", (int)lab->agents,
                  "migration_networks", (int)lab->migration_networks, "nodes", nodes);
    state_path(lab, path);
    return json_write_file(path, state, 0644, err);
}

static int read_nodes(struct lab *lab, const json_t *nodes, const char *path, struct error *err)
{
    size_t index;
    json_t *value;
    json_array_foreach ((json_t *)nodes, index, value) {
        int64_t pid;
        int64_t start_time;
        int result = json_get_integer(value, path, "pid", 0, INT32_MAX, &pid, err);
        if (result == 0) {
            result = json_get_integer(value, path, "start_time", 0, INT64_MAX, &start_time, err);
        }
        if (result < 0 || index >= LAB_NODES_MOST) {
            return -EINVAL;
        }
        lab_node_plan(index, lab->migration_networks, &lab->nodes[index]);
        lab->nodes[index].init =
            (struct process_identity){.pid = (pid_t)pid, .start_time = (uint64_t)start_time};
        lab->node_count = index + 1;
    }
    return 0;
}

/* A lab without lab.json is one whose up was interrupted at once. */
static int load(struct lab *lab, struct error *err)
{
    char path[LAB_PATH_SIZE];
    const char *folder;
    const char *state;
    json_t *nodes;
    int64_t networks;
    state_path(lab, path);
    if (access(path, F_OK) < 0) {
        return folder_choose(lab->name, lab->folder, err);
    }
    CLEANUP_JSON json_t *value = json_read_file(path, STATE_BYTES_MOST, err);
    if (!value) {
        return -err->code;
    }
    int result = json_get_string(value, path, "folder", &folder, err);
    if (result < 0 || (result = json_get_string(value, path, "state", &state, err)) < 0 ||
        (result = json_get_boolean_or(value, path, "agents", false, &lab->agents, err)) < 0 ||
        (result = json_get_integer_or(value, path, "migration_networks", 1,
                                      LAB_MIGRATION_NETWORKS_MOST, 1, &networks, err)) < 0 ||
        (result = json_get_array_or_empty(value, path, "nodes", &nodes, err)) < 0) {
        return result;
    }
    snprintf(lab->folder, sizeof(lab->folder), "%s", folder);
    lab->state = strcmp(state, "up") == 0 ? LAB_UP : LAB_STARTING;
    lab->migration_networks = (unsigned)networks;
    return read_nodes(lab, nodes, path, err);
}

/* ---- the lock ---- */

static bool is_still_at(int fd, const char *path)
{
    struct stat held;
    struct stat there;
    return fstat(fd, &held) == 0 && stat(path, &there) == 0 && held.st_ino == there.st_ino &&
           held.st_dev == there.st_dev;
}

/* Locks a folder; -EAGAIN when it was removed while we waited. */
static int lock_folder(const char *path)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    while (flock(fd, LOCK_EX) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return is_still_at(fd, path) ? steal_fd(&fd) : -EAGAIN;
}

static int make_control_folder(const char *path, struct error *err)
{
    int result;
    CLEANUP_CLOSE int root = -1;
    do {
        result = file_make_folders(LAB_CONTROL_ROOT, 0755, err);
        if (result < 0) {
            return result;
        }
        root = lock_folder(LAB_CONTROL_ROOT);
    } while (root == -EAGAIN || root == -ENOENT);
    if (root < 0) {
        return error_set_errno(err, root, "cannot lock %s", LAB_CONTROL_ROOT);
    }
    result = file_make_folders(path, 0755, err);
    return result < 0 ? result : mount_points_make(err);
}

int registry_open(const char *name, bool create, struct lab *ret_lab, struct error *err)
{
    char path[LAB_PATH_SIZE];
    int result = check_name(name, err);
    if (result < 0) {
        return result;
    }
    control_path(name, path);
    *ret_lab = (struct lab){.state = LAB_STARTING, .migration_networks = 1};
    snprintf(ret_lab->name, sizeof(ret_lab->name), "%s", name);
    do {
        if (create && (result = make_control_folder(path, err)) < 0) {
            ret_lab->lock = -1;
            return result;
        }
        ret_lab->lock = lock_folder(path);
    } while (ret_lab->lock == -EAGAIN || (create && ret_lab->lock == -ENOENT));
    if (ret_lab->lock == -ENOENT) {
        return no_such_lab(name, err);
    }
    if (ret_lab->lock < 0) {
        return error_set_errno(err, ret_lab->lock, "cannot lock the lab %s", name);
    }
    return load(ret_lab, err);
}

int registry_look(const char *name, struct lab *ret_lab, struct error *err)
{
    char path[LAB_PATH_SIZE];
    int result = check_name(name, err);
    if (result < 0) {
        return result;
    }
    *ret_lab = (struct lab){.state = LAB_STARTING, .migration_networks = 1, .lock = -1};
    snprintf(ret_lab->name, sizeof(ret_lab->name), "%s", name);
    control_path(name, path);
    if (access(path, F_OK) < 0) {
        return no_such_lab(name, err);
    }
    result = load(ret_lab, err);
    if (result == 0 && ret_lab->state != LAB_UP) {
        error_set(err, EBUSY, "the lab %s is not up yet, or its start was interrupted", name);
        return error_remedy(err, "wait for \"drover lab up\", or clean with \"drover lab down\"");
    }
    return result;
}

void registry_close(struct lab *lab)
{
    if (lab->lock >= 0) {
        close_fd(&lab->lock);
    }
}

static bool is_last_lab(void)
{
    CLEANUP_DIRECTORY DIR *root = opendir(LAB_CONTROL_ROOT);
    for (struct dirent *entry; root && (entry = readdir(root));) {
        if (entry->d_name[0] != '.') {
            return false;
        }
    }
    return true;
}

int registry_remove(struct lab *lab, struct error *err)
{
    char path[LAB_PATH_SIZE];
    control_path(lab->name, path);
    CLEANUP_CLOSE int root = lock_folder(LAB_CONTROL_ROOT);
    if (root < 0) {
        return error_set_errno(err, root, "cannot lock %s", LAB_CONTROL_ROOT);
    }
    int result = file_remove_tree(path, err);
    if (result == 0 && is_last_lab()) {
        mount_points_remove();
        result = file_remove_tree(LAB_CONTROL_ROOT, err);
    }
    return result;
}

/* ---- nodes ---- */

static void list_nodes(const struct lab *lab, bool hosts_only, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < lab->node_count; i++) {
        size_t used = strlen(text);
        if (!hosts_only || lab->nodes[i].kind == LAB_NODE_HOST) {
            snprintf(text + used, size - used, "%s%s", used ? ", " : "", lab->nodes[i].name);
        }
    }
}

struct lab_node *registry_find_node(struct lab *lab, const char *name, bool hosts_only,
                                    struct error *err)
{
    char names[LAB_NODES_MOST * (LAB_NODE_NAME_SIZE + 2)];
    for (size_t i = 0; i < lab->node_count; i++) {
        if (strcmp(lab->nodes[i].name, name) == 0 &&
            (!hosts_only || lab->nodes[i].kind == LAB_NODE_HOST)) {
            return &lab->nodes[i];
        }
    }
    list_nodes(lab, hosts_only, names, sizeof(names));
    error_set(err, ENOENT, "the lab %s has no host named %s", lab->name, name);
    error_remedy(err, "hosts that there are: %s", names);
    return NULL;
}
