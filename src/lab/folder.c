/* A lab's files: see folder.h. */
#include "lab/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/uuid.h"
#include "lab/certificates.h"
#include "lab/mount_points.h"

#define DEFAULT_ROOT "/var/lib/drover-lab"
#define MARKER ".drover-lab"
#define DATASTORE_MARKER "drover-datastore.json"
#define MARKER_BYTES_MOST 4096
#define TOKEN_BYTES 24

int folder_choose(const char *lab_name, char ret_folder[LAB_PATH_SIZE], struct error *err)
{
    const char *root = getenv("DROVER_LAB_FOLDER");
    if (!root || !root[0]) {
        root = DEFAULT_ROOT;
    }
    if (root[0] != '/') {
        return error_set(err, EINVAL, "DROVER_LAB_FOLDER must be an absolute path, not \"%s\"",
                         root);
    }
    /* Half of it stays free for what is below. */
    if ((size_t)snprintf(ret_folder, LAB_PATH_SIZE, "%s/%s", root, lab_name) >= LAB_PATH_SIZE / 2) {
        return error_set(err, EINVAL, "DROVER_LAB_FOLDER is too long: %s", root);
    }
    return 0;
}

static bool is_ours(const char *folder)
{
    char path[LAB_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/" MARKER, folder);
    return access(path, F_OK) == 0;
}

static void shared_path(const struct lab *lab, char path[LAB_PATH_SIZE])
{
    snprintf(path, LAB_PATH_SIZE, "%s/shared", lab->folder);
}

/* Whether it has nothing in it, or is not there. */
static bool is_empty(const char *folder)
{
    CLEANUP_DIRECTORY DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            return false;
        }
    }
    return true;
}

static int remove_ours(const struct lab *lab, struct error *err)
{
    char shared[LAB_PATH_SIZE];
    shared_path(lab, shared);
    umount2(shared, MNT_DETACH | UMOUNT_NOFOLLOW); /* where it is a file system of its own */
    return file_remove_tree(lab->folder, err);
}

/* An `up` killed before it had marked the folder leaves it empty, or only the one above it. */
int folder_remove(const struct lab *lab, struct error *err)
{
    int result = 0;
    if (is_ours(lab->folder)) {
        result = remove_ours(lab, err);
    } else {
        rmdir(lab->folder);
    }
    char *slash = strrchr(lab->folder, '/');
    CLEANUP_FREE char *root = strndup(lab->folder, (size_t)(slash - lab->folder));
    if (result == 0 && root) {
        rmdir(root); /* when it was the last lab's */
    }
    return result;
}

/* At once: a half-written marker would make the folder a stranger's. */
static int mark(const char *folder, struct error *err)
{
    char path[LAB_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/" MARKER, folder);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? error_set_errno(err, errno, "cannot make %s", path) : 0;
}

static int make_below(const struct lab *lab, const char *node, const char *name, mode_t mode,
                      struct error *err)
{
    char path[LAB_PATH_SIZE * 2];
    snprintf(path, sizeof(path), "%s/%s/%s", lab->folder, node, name);
    return file_make_folders(path, mode, err);
}

static json_t *peers_of(const struct lab *lab, const struct lab_node *host)
{
    json_t *peers = json_array();
    for (size_t i = 0; i < lab->node_count; i++) {
        const struct lab_node *peer = &lab->nodes[i];
        char address[LAB_ADDRESS_SIZE];
        if (peer->kind == LAB_NODE_HOST && peer->number != host->number) {
            lab_node_address(peer, LAB_NETWORK_MANAGEMENT, address);
            json_array_append_new(peers, json_pack("{s:s,s:s,s:i}", "name", peer->name, "address",
                                                   address, "port", LAB_API_PORT));
        }
    }
    return peers;
}

static json_t *datastores_of(const struct lab_node *host)
{
    char shared[64];
    snprintf(shared, sizeof(shared), MOUNT_POINT_DATASTORES "/%s-shared", host->name);
    return json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "shared", "path", shared, "name", "local",
                     "path", MOUNT_POINT_DATASTORES "/local");
}

static json_t *migration_addresses_of(const struct lab_node *host)
{
    static const enum lab_network networks[] = {LAB_NETWORK_MIGRATION, LAB_NETWORK_MIGRATION_2};
    json_t *addresses = json_array();
    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
        char address[LAB_ADDRESS_SIZE];
        if (lab_node_address(host, networks[i], address)) {
            json_array_append_new(addresses, json_string(address));
        }
    }
    return addresses;
}

static json_t *configuration_of(const struct lab *lab, const struct lab_node *host)
{
    char management[LAB_ADDRESS_SIZE];
    lab_node_address(host, LAB_NETWORK_MANAGEMENT, management);
    json_t *value = json_pack("{s:i,s:s,s:s,s:s,s:o,s:[{s:s,s:s}]}", "version", 1, "host",
                              host->name, "state_folder", MOUNT_POINT_STATE, "run_folder",
                              MOUNT_POINT_RUN, "datastores", datastores_of(host), "bridges", "name",
                              LAB_VM_BRIDGE, "uplink", lab_networks[LAB_NETWORK_VM].link);
    json_object_set_new(value, "port_groups",
                        json_pack("[{s:s,s:s,s:i},{s:s,s:s,s:i}]", "name", "vm", "bridge",
                                  LAB_VM_BRIDGE, "vlan", LAB_VLAN_VM, "name", "isolated", "bridge",
                                  LAB_VM_BRIDGE, "vlan", LAB_VLAN_ISOLATED));
    json_object_set_new(value, "migration_addresses", migration_addresses_of(host));
    json_object_set_new(value, "listen",
                        json_pack("{s:s,s:i}", "address", management, "port", LAB_API_PORT));
    json_object_set_new(value, "token_file", json_string(MOUNT_POINT_CONFIGURATION "/token"));
    json_object_set_new(value, "tls",
                        json_pack("{s:s,s:s}", "folder", MOUNT_POINT_STATE "/tls", "authority",
                                  LAB_AUTHORITY_HOST));
    json_object_set_new(value, "peers", peers_of(lab, host));
    return value;
}

static int write_configuration(const struct lab *lab, const struct lab_node *host,
                               struct error *err)
{
    char path[LAB_PATH_SIZE];
    CLEANUP_JSON json_t *value = configuration_of(lab, host);
    snprintf(path, sizeof(path), "%s/%s/etc/droverd.json", lab->folder, host->name);
    return json_write_file(path, value, 0644, err);
}

/* ---- datastores ---- */

static json_t *lease_to_json(const struct lab_lease *lease)
{
    json_t *value = json_object();
    if (lease->kind) {
        json_object_set_new(value, "kind", json_string(lease->kind));
    }
    if (lease->heartbeat_ms > 0) {
        json_object_set_new(value, "heartbeat_ms", json_integer(lease->heartbeat_ms));
        json_object_set_new(value, "stop_after_ms", json_integer(lease->stop_after_ms));
        json_object_set_new(value, "takeover_ms", json_integer(lease->takeover_ms));
    }
    return value;
}

/* Marks a folder as a datastore; agents would do so too, with default settings. */
static int mark_datastore(const char *folder, const struct lab_lease *lease, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    char path[LAB_PATH_SIZE * 2];
    uuid_generate(uuid);
    CLEANUP_JSON json_t *marker = json_pack("{s:i,s:s,s:o}", "drover_datastore", 1, "uuid", uuid,
                                            "lease", lease_to_json(lease));
    snprintf(path, sizeof(path), "%s/" DATASTORE_MARKER, folder);
    return json_write_file(path, marker, 0644, err);
}

static int make_local_datastore(const struct lab *lab, const struct lab_node *host,
                                struct error *err)
{
    char path[LAB_PATH_SIZE * 2];
    const struct lab_lease alone = {.kind = "local"};
    int result = make_below(lab, host->name, "datastores/local", 0755, err);
    snprintf(path, sizeof(path), "%s/%s/datastores/local", lab->folder, host->name);
    return result < 0 ? result : mark_datastore(path, &alone, err);
}

/* A file system of its own: what is written into it fills nothing else. */
static int limit_shared(const struct lab *lab, const char *path, struct error *err)
{
    char options[64];
    snprintf(options, sizeof(options), "mode=0755,size=%" PRIu64, lab->datastore_bytes);
    if (lab->datastore_bytes > 0 && mount("tmpfs", path, "tmpfs", MS_NOSUID, options) < 0) {
        return error_set_errno(err, errno, "cannot mount the shared datastore on %s", path);
    }
    return 0;
}

static int make_shared_datastore(const struct lab *lab, const struct lab_lease *lease,
                                 struct error *err)
{
    char path[LAB_PATH_SIZE];
    int result = make_below(lab, "shared", "", 0755, err);
    shared_path(lab, path);
    if (result == 0) {
        result = limit_shared(lab, path, err);
    }
    return result < 0 ? result : mark_datastore(path, lease, err);
}

bool folder_wants_sanlock(const struct lab *lab)
{
    char path[LAB_PATH_SIZE * 2];
    snprintf(path, sizeof(path), "%s/shared/" DATASTORE_MARKER, lab->folder);
    CLEANUP_JSON json_t *marker = json_read_file(path, MARKER_BYTES_MOST, NULL);
    const char *kind = json_string_value(json_object_get(json_object_get(marker, "lease"), "kind"));
    return kind && strcmp(kind, "sanlock") == 0;
}

/* ---- nodes ---- */

static int make_host(const struct lab *lab, const struct lab_node *host, struct error *err)
{
    char view[64];
    snprintf(view, sizeof(view), "datastores/%s-shared", host->name);
    int result = make_below(lab, host->name, "state", 0755, err);
    if (result == 0) {
        result = make_below(lab, host->name, view, 0755, err);
    }
    if (result == 0) {
        result = make_local_datastore(lab, host, err);
    }
    return result < 0 ? result : write_configuration(lab, host, err);
}

/* The client has the token too: it may call the hosts' APIs. */
static int make_node(const struct lab *lab, const struct lab_node *node, const char *token,
                     struct error *err)
{
    char path[LAB_PATH_SIZE];
    int result = make_below(lab, node->name, "etc", 0755, err);
    if (result < 0) {
        return result;
    }
    snprintf(path, sizeof(path), "%s/%s/etc/token", lab->folder, node->name);
    result = file_write_atomic(path, token, strlen(token), 0600, err);
    return result < 0 || node->kind != LAB_NODE_HOST ? result : make_host(lab, node, err);
}

int folder_make(const struct lab *lab, const struct lab_lease *lease, struct error *err)
{
    char token[2 * TOKEN_BYTES + 1];
    if (!is_empty(lab->folder) && !is_ours(lab->folder)) {
        error_set(err, EEXIST, "%s exists and is not a lab's folder", lab->folder);
        return error_remedy(err, "choose another name, or another DROVER_LAB_FOLDER");
    }
    int result = is_ours(lab->folder) ? remove_ours(lab, err) : 0;
    if (result < 0 || (result = file_make_folders(lab->folder, 0755, err)) < 0) {
        return result;
    }
    result = mark(lab->folder, err);
    if (result == 0) {
        result = make_shared_datastore(lab, lease, err);
    }
    random_hex(token, TOKEN_BYTES);
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        result = make_node(lab, &lab->nodes[i], token, err);
    }
    return result < 0 ? result : certificates_make(lab, err);
}
