/* The agent's configuration file: see docs/api.md for its shape. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/encryption.h"
#include "base/error.h"
#include "net/bridge.h"
#include "storage/vm_config.h"

#define CONFIG_VERSION 1
#define CONFIG_PATH_SIZE 256
#define CONFIG_RUN_FOLDER_MOST 50 /* UNIX socket paths below it must stay under 108 characters */
#define CONFIG_ADDRESS_SIZE 46
#define CONFIG_DATASTORES_MOST 16
#define CONFIG_BRIDGES_MOST 32
#define CONFIG_PORT_GROUPS_MOST 256
#define CONFIG_PEERS_MOST 1024
#define CONFIG_MIGRATION_ADDRESSES_MOST 16

struct config_datastore {
    char name[VM_NAME_SIZE];
    char path[CONFIG_PATH_SIZE];
};

struct config_bridge {
    char name[16];
    char uplink[16]; /* empty: none */
};

struct config_peer {
    char name[VM_NAME_SIZE];
    char address[CONFIG_ADDRESS_SIZE];
    uint16_t port;
};

/* This host's certificate, and who gives it another one before it ends. */
struct config_tls {
    char folder[CONFIG_PATH_SIZE];           /* base/tls.h; empty: no TLS, no peers, no TCP */
    char authority[VM_NAME_SIZE];            /* the host whose agent holds it; empty: none does */
    char authority_folder[CONFIG_PATH_SIZE]; /* ca/authority.h; empty: another host has it */
};

struct agent_config {
    char host[VM_NAME_SIZE];
    char state_folder[CONFIG_PATH_SIZE];
    char run_folder[CONFIG_PATH_SIZE];
    struct config_datastore datastores[CONFIG_DATASTORES_MOST];
    size_t datastore_count;
    struct config_bridge bridges[CONFIG_BRIDGES_MOST];
    size_t bridge_count;
    struct port_group port_groups[CONFIG_PORT_GROUPS_MOST];
    size_t port_group_count;
    struct config_peer peers[CONFIG_PEERS_MOST];
    size_t peer_count;
    char migration_addresses[CONFIG_MIGRATION_ADDRESSES_MOST][CONFIG_ADDRESS_SIZE];
    size_t migration_address_count; /* 0: this host takes part in no move */
    enum encryption_policy migration_encryption;
    char listen_address[CONFIG_ADDRESS_SIZE]; /* empty: UNIX socket only */
    uint16_t listen_port;
    char token[129]; /* what token_file holds; empty: none */
    struct config_tls tls;
    uint64_t memory_limit_mib; /* 0: what the host has */
    uid_t uid_base;
};

/* Checks the whole document (references, ranges, unknown keys), then fills the configuration; the
 * token file is read too. The result is large and is freed with free(). */
int config_from_json(const json_t *document, const char *what, struct agent_config **ret_config,
                     struct error *err);

/* As config_from_json(), from a file. */
int config_load(const char *path, struct agent_config **ret_config, struct error *err);

/* NULL when there is none of that name. */
const struct config_peer *config_peer(const struct agent_config *config, const char *name);
const struct port_group *config_port_group(const struct agent_config *config, const char *name);
