/* The configuration file: see config.h. */
#include "agent/config.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define CONFIG_BYTES_MOST ((size_t)1 << 20)
#define TOKEN_LEAST 16
#define UID_BASE_LEAST 65536
#define UID_BASE_MOST 4000000000LL
#define UID_BASE_DEFAULT 2100000

/* Copies a string of limited length from an object. */
static int read_text(const json_t *object, const char *what, const char *key, const char *otherwise,
                     char *ret_text, size_t size, struct error *err)
{
    const char *text;
    int result = otherwise ? json_get_string_or(object, what, key, otherwise, &text, err)
                           : json_get_string(object, what, key, &text, err);
    if (result < 0) {
        return result;
    }
    if (strlen(text) >= size) {
        return error_set(err, EINVAL, "%s: \"%s\" is longer than %zu characters", what, key,
                         size - 1);
    }
    strcpy(ret_text, text);
    return 0;
}

static int read_name(const json_t *object, const char *what, const char *key, char *ret_name,
                     size_t size, struct error *err)
{
    int result = read_text(object, what, key, NULL, ret_name, size, err);
    if (result == 0 && !file_name_is_safe(ret_name)) {
        return error_set(err, EINVAL, "%s: \"%s\" is \"%s\", which cannot be a name", what, key,
                         ret_name);
    }
    return result;
}

static int read_folder(const json_t *object, const char *what, const char *key,
                       const char *otherwise, char *ret_path, size_t size, struct error *err)
{
    int result = read_text(object, what, key, otherwise, ret_path, size, err);
    if (result == 0 && ret_path[0] != '/') {
        return error_set(err, EINVAL, "%s: \"%s\" must be an absolute path", what, key);
    }
    return result;
}

static bool is_address(const char *text)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static int read_address(const json_t *object, const char *what, const char *key,
                        const char *otherwise, char ret_address[CONFIG_ADDRESS_SIZE],
                        struct error *err)
{
    int result = read_text(object, what, key, otherwise, ret_address, CONFIG_ADDRESS_SIZE, err);
    if (result == 0 && ret_address[0] != '\0' && !is_address(ret_address)) {
        return error_set(err, EINVAL, "%s: \"%s\" must be a numeric IPv4 or IPv6 address", what,
                         key);
    }
    return result;
}

static int read_port(const json_t *object, const char *what, uint16_t *ret_port, struct error *err)
{
    int64_t port;
    int result = json_get_integer(object, what, "port", 1, 65535, &port, err);
    if (result == 0) {
        *ret_port = (uint16_t)port;
    }
    return result;
}

/* ---- the lists: one function an entry ---- */

static int read_datastore(struct agent_config *config, const json_t *entry, struct error *err)
{
    static const char *const known[] = {"name", "path", NULL};
    struct config_datastore *datastore = &config->datastores[config->datastore_count];
    int result = json_refuse_unknown_keys(entry, "a datastore", known, err);
    if (result == 0) {
        result =
            read_name(entry, "a datastore", "name", datastore->name, sizeof(datastore->name), err);
    }
    if (result == 0) {
        result = read_folder(entry, "a datastore", "path", NULL, datastore->path,
                             sizeof(datastore->path), err);
    }
    for (size_t i = 0; result == 0 && i < config->datastore_count; i++) {
        if (strcmp(config->datastores[i].name, datastore->name) == 0) {
            result = error_set(err, EINVAL, "the datastore %s is named twice", datastore->name);
        }
    }
    config->datastore_count += result == 0;
    return result;
}

static int read_bridge(struct agent_config *config, const json_t *entry, struct error *err)
{
    static const char *const known[] = {"name", "uplink", NULL};
    struct config_bridge *bridge = &config->bridges[config->bridge_count];
    int result = json_refuse_unknown_keys(entry, "a bridge", known, err);
    if (result == 0) {
        result = read_name(entry, "a bridge", "name", bridge->name, sizeof(bridge->name), err);
    }
    if (result == 0) {
        result =
            read_text(entry, "a bridge", "uplink", "", bridge->uplink, sizeof(bridge->uplink), err);
    }
    config->bridge_count += result == 0;
    return result;
}

static bool has_bridge(const struct agent_config *config, const char *name)
{
    for (size_t i = 0; i < config->bridge_count; i++) {
        if (strcmp(config->bridges[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int read_port_group(struct agent_config *config, const json_t *entry, struct error *err)
{
    static const char *const known[] = {"name", "bridge", "vlan", NULL};
    struct port_group *group = &config->port_groups[config->port_group_count];
    int64_t vlan = 1;
    int result = json_refuse_unknown_keys(entry, "a port group", known, err);
    if (result == 0) {
        result = read_name(entry, "a port group", "name", group->name, sizeof(group->name), err);
    }
    if (result == 0) {
        result =
            read_name(entry, "a port group", "bridge", group->bridge, sizeof(group->bridge), err);
    }
    if (result == 0) {
        result = json_get_integer(entry, "a port group", "vlan", 1, 4094, &vlan, err);
    }
    if (result == 0 && config_port_group(config, group->name)) {
        result = error_set(err, EINVAL, "the port group %s is named twice", group->name);
    }
    if (result == 0 && !has_bridge(config, group->bridge)) {
        result =
            error_set(err, EINVAL, "the port group %s names the bridge %s, which is not listed",
                      group->name, group->bridge);
    }
    group->vlan = (uint16_t)vlan;
    config->port_group_count += result == 0;
    return result;
}

static int read_peer(struct agent_config *config, const json_t *entry, struct error *err)
{
    static const char *const known[] = {"name", "address", "port", NULL};
    struct config_peer *peer = &config->peers[config->peer_count];
    int result = json_refuse_unknown_keys(entry, "a peer", known, err);
    if (result == 0) {
        result = read_name(entry, "a peer", "name", peer->name, sizeof(peer->name), err);
    }
    if (result == 0) {
        result = read_address(entry, "a peer", "address", NULL, peer->address, err);
    }
    if (result == 0) {
        result = read_port(entry, "a peer", &peer->port, err);
    }
    if (result == 0 && config_peer(config, peer->name)) {
        result = error_set(err, EINVAL, "the peer %s is named twice", peer->name);
    }
    config->peer_count += result == 0;
    return result;
}

static int add_migration_address(struct agent_config *config, const char *address,
                                 struct error *err)
{
    if (!is_address(address)) {
        return error_set(err, EINVAL, "\"%.64s\" is not a numeric IPv4 or IPv6 address", address);
    }
    for (size_t i = 0; i < config->migration_address_count; i++) {
        if (strcmp(config->migration_addresses[i], address) == 0) {
            return error_set(err, EINVAL, "%s is named twice", address);
        }
    }
    strcpy(config->migration_addresses[config->migration_address_count++], address);
    return 0;
}

static int read_migration_address(struct agent_config *config, const json_t *entry,
                                  struct error *err)
{
    const char *address = json_string_value(entry);
    return address ? add_migration_address(config, address, err)
                   : error_set(err, EINVAL, "an address must be a string");
}

typedef int entry_reader(struct agent_config *config, const json_t *entry, struct error *err);

static int read_list(struct agent_config *config, const json_t *document, const char *what,
                     const char *key, size_t most, entry_reader *reader, struct error *err)
{
    json_t *list;
    int result = json_get_array_or_empty(document, what, key, &list, err);
    if (result == 0 && json_array_size(list) > most) {
        result = error_set(err, EINVAL, "%s: \"%s\" has more than %zu entries", what, key, most);
    }
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++) {
        result = reader(config, json_array_get(list, i), err);
    }
    return result < 0 && err->message[0] ? error_wrap(err, "%s, \"%s\"", what, key) : result;
}

static int read_lists(struct agent_config *config, const json_t *document, const char *what,
                      struct error *err)
{
    static const struct {
        const char *key;
        size_t most;
        entry_reader *reader;
    } lists[] = {
        {"datastores", CONFIG_DATASTORES_MOST, read_datastore},
        {"bridges", CONFIG_BRIDGES_MOST, read_bridge},
        {"port_groups", CONFIG_PORT_GROUPS_MOST, read_port_group}, /* after the bridges */
        {"peers", CONFIG_PEERS_MOST, read_peer},
        {"migration_addresses", CONFIG_MIGRATION_ADDRESSES_MOST, read_migration_address},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        int result =
            read_list(config, document, what, lists[i].key, lists[i].most, lists[i].reader, err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* ---- listening and the token ---- */

static int read_token(struct agent_config *config, const char *path, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = file_read(path, sizeof(config->token) - 1, &content, err);
    if (result < 0) {
        return error_wrap(err, "cannot read the token");
    }
    size_t length = strcspn((char *)content.data, " \t\r\n");
    if (length < TOKEN_LEAST) {
        error_set(err, EINVAL, "the token in %s is shorter than %d characters", path, TOKEN_LEAST);
        return error_remedy(err, "write a long random word into it, the same on all hosts, for "
                                 "example from: openssl rand -hex 32");
    }
    memcpy(config->token, content.data, length);
    return 0;
}

static int read_listen(struct agent_config *config, const json_t *document, const char *what,
                       struct error *err)
{
    static const char *const known[] = {"address", "port", NULL};
    json_t *listen;
    const char *token_file;
    int result = json_get_object_or_null(document, what, "listen", &listen, err);
    if (result == 0) {
        result = json_get_string_or(document, what, "token_file", NULL, &token_file, err);
    }
    if (result == 0 && token_file) {
        result = read_token(config, token_file, err);
    }
    if (result < 0 || !listen) {
        return result;
    }
    if (!config->tls.folder[0]) {
        error_set(err, EINVAL, "%s: \"listen\" without \"tls\": agents talk over TLS only", what);
        return error_remedy(err, "get certificates (drover ca init, drover ca join) and add "
                                 "\"tls\": {\"folder\": \"/var/lib/drover/tls\"}");
    }
    result = json_refuse_unknown_keys(listen, "\"listen\"", known, err);
    if (result == 0) {
        result = read_address(listen, "\"listen\"", "address", NULL, config->listen_address, err);
    }
    return result < 0 ? result : read_port(listen, "\"listen\"", &config->listen_port, err);
}

/* ---- certificates ---- */

static int read_authority(struct agent_config *config, const json_t *tls, struct error *err)
{
    struct config_tls *read = &config->tls;
    char otherwise[CONFIG_PATH_SIZE];
    int result =
        read_text(tls, "\"tls\"", "authority", "", read->authority, sizeof(read->authority), err);
    if (result < 0 || !read->authority[0]) {
        return result;
    }
    if (strcmp(read->authority, config->host) != 0) {
        return config_peer(config, read->authority)
                   ? 0
                   : error_set(
                         err, EINVAL,
                         "\"tls\": the authority %s is neither this host nor one of \"peers\"",
                         read->authority);
    }
    if (snprintf(otherwise, sizeof(otherwise), "%s/ca", config->state_folder) >=
        (int)sizeof(otherwise)) {
        return error_set(err, EINVAL, "\"state_folder\" is too long");
    }
    return read_folder(tls, "\"tls\"", "authority_folder", otherwise, read->authority_folder,
                       sizeof(read->authority_folder), err);
}

static int read_tls(struct agent_config *config, const json_t *document, const char *what,
                    struct error *err)
{
    static const char *const known[] = {"folder", "authority", "authority_folder", NULL};
    json_t *tls;
    int result = json_get_object_or_null(document, what, "tls", &tls, err);
    if (result < 0 || !tls) {
        return result;
    }
    result = json_refuse_unknown_keys(tls, "\"tls\"", known, err);
    if (result == 0) {
        result = read_folder(tls, "\"tls\"", "folder", NULL, config->tls.folder,
                             sizeof(config->tls.folder), err);
    }
    return result < 0 ? result : read_authority(config, tls, err);
}

/* ---- the whole ---- */

static int check_version(const json_t *document, const char *what, struct error *err)
{
    int64_t version;
    int result = json_get_integer(document, what, "version", 1, INT64_MAX, &version, err);
    if (result == 0 && version > CONFIG_VERSION) {
        error_set(err, EINVAL, "%s has version %lld; this program knows version %d", what,
                  (long long)version, CONFIG_VERSION);
        return error_remedy(err, "install a newer droverd");
    }
    return result;
}

static int read_identity(struct agent_config *config, const json_t *document, const char *what,
                         struct error *err)
{
    int result = read_name(document, what, "host", config->host, sizeof(config->host), err);
    if (result == 0) {
        result = read_folder(document, what, "state_folder", "/var/lib/drover",
                             config->state_folder, sizeof(config->state_folder), err);
    }
    if (result == 0) {
        result = read_folder(document, what, "run_folder", "/run/drover", config->run_folder,
                             CONFIG_RUN_FOLDER_MOST + 1, err);
    }
    return result;
}

/* The short form of a list of one. */
static int read_only_migration_address(struct agent_config *config, const json_t *document,
                                       const char *what, struct error *err)
{
    char address[CONFIG_ADDRESS_SIZE];
    int result = read_address(document, what, "migration_address", "", address, err);
    if (result < 0 || !address[0]) {
        return result;
    }
    if (config->migration_address_count > 0) {
        error_set(err, EINVAL, "%s: both \"migration_address\" and \"migration_addresses\"", what);
        return error_remedy(err, "put all of them into \"migration_addresses\"");
    }
    return add_migration_address(config, address, err);
}

static int read_encryption(struct agent_config *config, const json_t *document, const char *what,
                           struct error *err)
{
    int policy;
    int result = json_get_choice_or(document, what, "migration_encryption", encryption_policies,
                                    ENCRYPTION_REQUIRED, &policy, err);
    if (result == 0) {
        config->migration_encryption = (enum encryption_policy)policy;
    }
    return result;
}

static int read_limits(struct agent_config *config, const json_t *document, const char *what,
                       struct error *err)
{
    int64_t limit;
    int64_t uid_base;
    int result = json_get_integer_or(document, what, "memory_limit_mib", 0, VM_MEMORY_MIB_MOST, 0,
                                     &limit, err);
    if (result == 0) {
        result = json_get_integer_or(document, what, "uid_base", UID_BASE_LEAST, UID_BASE_MOST,
                                     UID_BASE_DEFAULT, &uid_base, err);
    }
    if (result == 0) {
        config->memory_limit_mib = (uint64_t)limit;
        config->uid_base = (uid_t)uid_base;
    }
    return result;
}

static int read_document(struct agent_config *config, const json_t *document, const char *what,
                         struct error *err)
{
    static const char *const known[] = {"version",
                                        "host",
                                        "state_folder",
                                        "run_folder",
                                        "datastores",
                                        "bridges",
                                        "port_groups",
                                        "migration_address",
                                        "migration_addresses",
                                        "migration_encryption",
                                        "listen",
                                        "token_file",
                                        "tls",
                                        "peers",
                                        "memory_limit_mib",
                                        "uid_base",
                                        NULL};
    int result = json_is_object(document) ? check_version(document, what, err)
                                          : error_set(err, EINVAL, "%s must be an object", what);
    if (result == 0) {
        result = json_refuse_unknown_keys(document, what, known, err);
    }
    if (result == 0) {
        result = read_identity(config, document, what, err);
    }
    if (result == 0) {
        result = read_limits(config, document, what, err);
    }
    if (result == 0) {
        result = read_lists(config, document, what, err);
    }
    if (result == 0) {
        result = read_only_migration_address(config, document, what, err);
    }
    if (result == 0) {
        result = read_encryption(config, document, what, err);
    }
    if (result == 0) {
        result = read_tls(config, document, what, err);
    }
    return result < 0 ? result : read_listen(config, document, what, err);
}

int config_from_json(const json_t *document, const char *what, struct agent_config **ret_config,
                     struct error *err)
{
    CLEANUP_FREE struct agent_config *config = calloc(1, sizeof(*config));
    if (!config) {
        return error_set_errno(err, ENOMEM, "cannot read %s", what);
    }
    int result = read_document(config, document, what, err);
    if (result == 0) {
        *ret_config = steal_pointer(&config);
    }
    return result;
}

int config_load(const char *path, struct agent_config **ret_config, struct error *err)
{
    CLEANUP_JSON json_t *document = json_read_file(path, CONFIG_BYTES_MOST, err);
    return document ? config_from_json(document, path, ret_config, err) : -err->code;
}

const struct config_peer *config_peer(const struct agent_config *config, const char *name)
{
    for (size_t i = 0; i < config->peer_count; i++) {
        if (strcmp(config->peers[i].name, name) == 0) {
            return &config->peers[i];
        }
    }
    return NULL;
}

const struct port_group *config_port_group(const struct agent_config *config, const char *name)
{
    for (size_t i = 0; i < config->port_group_count; i++) {
        if (strcmp(config->port_groups[i].name, name) == 0) {
            return &config->port_groups[i];
        }
    }
    return NULL;
}
