/* What takes both hosts' facts to tell: see checks.h. One function a row. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/encryption.h"
#include "agent/move/check_list.h"
#include "agent/move/checks.h"
#include "base/units.h"

#define MIB (1024ULL * 1024)
#define QEMU_OVERHEAD_BYTES (256 * MIB) /* of a QEMU process beside its guest's memory */
#define NEARLY_FULL_BYTES (64 * MIB)

static bool list_has_text(const json_t *list, const char *text)
{
    size_t index;
    json_t *item;
    json_array_foreach (list, index, item) {
        if (json_is_string(item) && strcmp(json_string_value(item), text) == 0) {
            return true;
        }
    }
    return false;
}

/* The object of a list whose `key` is `text`; NULL when there is none. */
static const json_t *find_by(const json_t *list, const char *key, const char *text)
{
    size_t index;
    json_t *item;
    json_array_foreach (list, index, item) {
        const char *value = check_text(item, key);
        if (value && strcmp(value, text) == 0) {
            return item;
        }
    }
    return NULL;
}

static void check_machine(const struct checks_move *move, json_t *list)
{
    const json_t *types =
        json_object_get(json_object_get(move->destination, "capabilities"), "machine_types");
    const char *machine = move->config->machine;
    const char *host = check_host_name(move->destination);
    if (!json_is_array(types)) {
        check_block_untold(list, "machine", move->destination,
                           "which machine types its QEMU knows");
    } else if (list_has_text(types, machine)) {
        check_add(list, CHECK_OK, "machine", "", "%s knows the machine type %s", host, machine);
    } else {
        check_add(list, CHECK_BLOCK, "machine",
                  "install a QEMU there that has this machine type, or choose another host",
                  "%s does not know the machine type %s", host, machine);
    }
}

struct qemu_version {
    unsigned parts[3]; /* 7.2.22; a missing last part is 0 */
};

static bool parse_version(const char *text, struct qemu_version *ret_version)
{
    struct qemu_version version = {0};
    int count =
        text ? sscanf(text, "%6u.%6u.%6u", &version.parts[0], &version.parts[1], &version.parts[2])
             : 0;
    *ret_version = version;
    return count >= 2;
}

/* Below, equal to or above zero, comparing the first `parts` parts. */
static int compare_versions(const struct qemu_version *a, const struct qemu_version *b, int parts)
{
    for (int i = 0; i < parts; i++) {
        if (a->parts[i] != b->parts[i]) {
            return a->parts[i] < b->parts[i] ? -1 : 1;
        }
    }
    return 0;
}

static void compare_qemu(const struct checks_move *move, const char *from, const char *to,
                         json_t *list)
{
    struct qemu_version source;
    struct qemu_version destination;
    const char *host = check_host_name(move->destination);
    parse_version(from, &source);
    parse_version(to, &destination);
    if (compare_versions(&destination, &source, 2) < 0) {
        check_add(list, CHECK_BLOCK, "qemu", "upgrade QEMU there, or choose another host",
                  "QEMU %s on %s is older than QEMU %s here: it may not understand the VM's state",
                  to, host, from);
    } else if (compare_versions(&destination, &source, 2) > 0) {
        check_add(list, CHECK_WARN, "qemu", "upgrade QEMU on this host too",
                  "QEMU %s on %s is newer than QEMU %s here: the VM cannot move back", to, host,
                  from);
    } else if (compare_versions(&destination, &source, 3) < 0) {
        check_add(list, CHECK_WARN, "qemu", "bring both hosts to the same version",
                  "QEMU %s on %s lacks the fixes of QEMU %s here", to, host, from);
    } else {
        check_add(list, CHECK_OK, "qemu", "", "QEMU %s on %s takes over from QEMU %s", to, host,
                  from);
    }
}

static void check_qemu(const struct checks_move *move, json_t *list)
{
    struct qemu_version unused;
    const char *from = check_capability(move->source, "qemu_version");
    const char *to = check_capability(move->destination, "qemu_version");
    bool both = true;
    if (!parse_version(from, &unused)) {
        check_block_untold(list, "qemu", move->source, "its QEMU's version");
        both = false;
    }
    if (!parse_version(to, &unused)) {
        check_block_untold(list, "qemu", move->destination, "its QEMU's version");
        both = false;
    }
    if (both) {
        compare_qemu(move, from, to, list);
    }
}

/* A VM that asks for an accelerator gets that one on every host that has it; "auto" gets whatever
 * the host's default is. TCG is everywhere. */
static const char *accelerator_there(const struct checks_move *move)
{
    const char *there = check_capability(move->destination, "accelerator");
    return there && strcmp(move->config->accelerator, "tcg") == 0 ? "tcg" : there;
}

static void check_accelerator(const struct checks_move *move, json_t *list)
{
    const char *there = accelerator_there(move);
    const char *host = check_host_name(move->destination);
    if (!there) {
        check_block_untold(list, "accelerator", move->destination, "its accelerator");
    } else if (strcmp(there, move->accelerator) == 0) {
        check_add(list, CHECK_OK, "accelerator", "", "%s runs it with %s as well", host, there);
    } else {
        check_add(list, CHECK_BLOCK, "accelerator",
                  strcmp(there, "kvm") == 0
                      ? "set \"accelerator\" to \"tcg\" in the VM's definition and restart the VM"
                      : "choose a host with KVM",
                  "%s runs with %s here, but %s would run it with %s", move->config->name,
                  move->accelerator, host, there);
    }
}

/* The features of `wanted` that are not in `without`, as "a, b, c"; how many. */
static size_t list_difference(const json_t *wanted, const json_t *without, char *text, size_t size)
{
    size_t count = 0;
    size_t index;
    json_t *item;
    text[0] = '\0';
    json_array_foreach (wanted, index, item) {
        const char *feature = json_string_value(item);
        if (feature && !list_has_text(without, feature)) {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s", count ? ", " : "", feature);
            count++;
        }
    }
    return count;
}

static const json_t *missing_features(const json_t *host, const char *model)
{
    const json_t *models = json_object_get(json_object_get(host, "capabilities"), "cpu_models");
    const json_t *missing = json_object_get(models, model);
    return json_is_array(missing) ? missing : NULL;
}

/* What the model wants and both hosts lack, the guest does without already. */
static void check_cpu_features(const struct checks_move *move, const json_t *missing_there,
                               json_t *list)
{
    char features[512];
    const char *cpu = move->config->cpu;
    const char *host = check_host_name(move->destination);
    const json_t *missing_here = missing_features(move->source, cpu);
    if (list_difference(missing_there, missing_here, features, sizeof(features)) > 0) {
        check_add(list, CHECK_BLOCK, "cpu",
                  "choose a host with these features, or give the VM an older CPU model and "
                  "restart it",
                  "the CPU model %s needs features that %s lacks: %s", cpu, host, features);
    } else if (list_difference(missing_here, missing_there, features, sizeof(features)) > 0) {
        check_add(list, CHECK_WARN, "cpu", "",
                  "the CPU model %s has features on %s that it lacks here: %s", cpu, host,
                  features);
    } else {
        check_add(list, CHECK_OK, "cpu", "", "the CPU model %s is the same on %s", cpu, host);
    }
}

static void check_cpu(const struct checks_move *move, json_t *list)
{
    const char *cpu = move->config->cpu;
    const char *host = check_host_name(move->destination);
    const json_t *missing = missing_features(move->destination, cpu);
    const char *probed = check_capability(move->destination, "accelerator");
    if (!missing) {
        check_add(list, CHECK_BLOCK, "cpu",
                  "choose another host, or give the VM a CPU model that it knows",
                  "%s does not know the CPU model %s", host, cpu);
    } else if (!probed || strcmp(probed, move->accelerator) != 0) {
        check_add(list, CHECK_WARN, "cpu", "",
                  "the features of the CPU model %s under %s are not known of %s", cpu,
                  move->accelerator, host);
    } else {
        check_cpu_features(move, missing, list);
    }
}

/* The destination of a move needs no dirty tracking; moving on from there by Drover's engine would.
 */
static void check_destination_engine(const struct checks_move *move, json_t *list)
{
    const char *engine = check_capability(move->destination, "engine");
    const char *reason = check_capability(move->destination, "engine_reason");
    if (!engine) {
        check_block_untold(list, "engine", move->destination, "which migration engine it has");
    } else if (strcmp(engine, "drover") != 0) {
        check_add(list, CHECK_WARN, "engine", "run Linux 6.7 or later on that host",
                  "Drover's engine cannot move the VM on from %s: %s",
                  check_host_name(move->destination),
                  reason && *reason ? reason : "the host gives no reason");
    }
}

static void check_agreed_encryption(const struct checks_move *move, int agreed, json_t *list)
{
    const char *here = check_host_name(move->source), *there = check_host_name(move->destination);
    if (agreed > 0) {
        check_add(list, CHECK_OK, "encryption", "",
                  "the guest's memory travels encrypted (TLS 1.3) to %s", there);
    } else if (agreed == 0) {
        check_add(list, CHECK_WARN, "encryption",
                  "set \"migration_encryption\" to \"required\" on both hosts",
                  "the guest's memory travels in clear: encryption is disabled on %s or %s", here,
                  there);
    } else {
        check_add(list, CHECK_BLOCK, "encryption",
                  "give \"migration_encryption\" the same value in both hosts' configurations; "
                  "\"required\" is the safe one",
                  "one of %s and %s requires that moves are encrypted, the other has that disabled",
                  here, there);
    }
}

/* One that does not tell is of a version that cannot. */
static void check_encryption(const struct checks_move *move, json_t *list)
{
    enum encryption_policy source, destination;
    if (encryption_policy_of(move->source, &source, NULL) < 0) {
        check_block_untold(list, "encryption", move->source, "whether it encrypts moves");
    } else if (encryption_policy_of(move->destination, &destination, NULL) < 0) {
        check_block_untold(list, "encryption", move->destination, "whether it encrypts moves");
    } else {
        check_agreed_encryption(move, encryption_agree(source, destination), list);
    }
}

static void check_memory(const struct checks_move *move, json_t *list)
{
    const json_t *memory = json_object_get(move->destination, "memory");
    const json_t *available = json_object_get(memory, "available_bytes");
    uint64_t needed = move->config->memory_mib * MIB;
    const char *host = check_host_name(move->destination);
    char needed_text[32];
    char available_text[32];
    if (!json_is_integer(available) || json_integer_value(available) < 0) {
        check_block_untold(list, "memory", move->destination, "its available memory");
        return;
    }
    uint64_t there = (uint64_t)json_integer_value(available);
    units_format_size(needed, needed_text, sizeof(needed_text));
    units_format_size(there, available_text, sizeof(available_text));
    if (there < needed) {
        check_add(list, CHECK_BLOCK, "memory", "move or stop other VMs there, or raise its limit",
                  "%s needs %s of memory, %s has %s available", move->config->name, needed_text,
                  host, available_text);
    } else if (there < needed + QEMU_OVERHEAD_BYTES) {
        check_add(list, CHECK_WARN, "memory", "move or stop other VMs there",
                  "%s needs %s of memory and some for QEMU, %s has just %s available",
                  move->config->name, needed_text, host, available_text);
    } else {
        check_add(list, CHECK_OK, "memory", "", "%s has %s of memory available for %s", host,
                  available_text, needed_text);
    }
}

static void check_datastore_state(const struct checks_move *move, const json_t *datastore,
                                  json_t *list)
{
    const char *host = check_host_name(move->destination);
    const char *name = check_text(datastore, "name");
    const char *problem = check_text(datastore, "problem");
    const json_t *free_bytes = json_object_get(datastore, "free_bytes");
    name = name ? name : move->datastore_uuid;
    if (problem && *problem) {
        check_add(list, CHECK_BLOCK, "datastore", "repair the datastore on that host",
                  "%s cannot use the datastore %s: %s", host, name, problem);
    } else if (json_is_integer(free_bytes) &&
               json_integer_value(free_bytes) < (json_int_t)NEARLY_FULL_BYTES) {
        check_add(list, CHECK_WARN, "datastore", "free space on it",
                  "the datastore %s is nearly full", name);
    } else {
        check_add(list, CHECK_OK, "datastore", "", "%s sees the VM's datastore as %s", host, name);
    }
}

static void check_datastore(const struct checks_move *move, json_t *list)
{
    const json_t *datastores = json_object_get(move->destination, "datastores");
    const json_t *same = find_by(datastores, "uuid", move->datastore_uuid);
    const char *host = check_host_name(move->destination);
    const char *name = move->datastore_name ? move->datastore_name : "of the VM";
    if (same) {
        check_datastore_state(move, same, list);
    } else if (move->datastore_name && find_by(datastores, "name", move->datastore_name)) {
        check_add(list, CHECK_BLOCK, "datastore", "mount the same storage there",
                  "%s has a datastore named %s, but it is another one: it is not %s", host, name,
                  move->datastore_uuid);
    } else {
        check_add(list, CHECK_BLOCK, "datastore",
                  "mount it there and name it in the agent's configuration",
                  "%s does not see the datastore %s (%s)", host, name, move->datastore_uuid);
    }
}

/* A VM may only run where its host proves that it lives. */
static void check_guard(const struct checks_move *move, json_t *list)
{
    const json_t *datastores = json_object_get(move->destination, "datastores");
    const char *obstacle =
        check_text(find_by(datastores, "uuid", move->datastore_uuid), "obstacle");
    if (obstacle && *obstacle) {
        check_add(list, CHECK_BLOCK, "guard",
                  "see that drover-guard runs there: systemctl start drover-guard", "%s", obstacle);
    }
}

/* Whether an earlier NIC has the same port group: it is reported once. */
static bool port_group_was_seen(const struct vm_config *config, size_t nic)
{
    for (size_t i = 0; i < nic; i++) {
        if (strcmp(config->nics[i].port_group, config->nics[nic].port_group) == 0) {
            return true;
        }
    }
    return false;
}

static void check_port_group(const struct checks_move *move, const char *name, json_t *list)
{
    const char *host = check_host_name(move->destination);
    const json_t *there = find_by(json_object_get(move->destination, "port_groups"), "name", name);
    const json_t *here = find_by(json_object_get(move->source, "port_groups"), "name", name);
    json_int_t vlan_there = json_integer_value(json_object_get(there, "vlan"));
    json_int_t vlan_here = json_integer_value(json_object_get(here, "vlan"));
    if (!there) {
        check_add(list, CHECK_BLOCK, "network",
                  "add the port group to that host's configuration, on the same network",
                  "%s has no port group %s", host, name);
    } else if (here && vlan_here != vlan_there) {
        check_add(list, CHECK_WARN, "network", "make sure that both lead to the same network",
                  "the port group %s is VLAN %lld here and VLAN %lld on %s", name,
                  (long long)vlan_here, (long long)vlan_there, host);
    } else {
        check_add(list, CHECK_OK, "network", "", "%s has the port group %s", host, name);
    }
}

static void check_network(const struct checks_move *move, json_t *list)
{
    for (size_t i = 0; i < move->config->nic_count; i++) {
        if (!port_group_was_seen(move->config, i)) {
            check_port_group(move, move->config->nics[i].port_group, list);
        }
    }
}

/* The VM itself is known there, where the datastore is shared: as one that another host owns, or
 * that nobody does. */
static bool is_same_vm(const struct checks_move *move, const json_t *vm)
{
    const char *state = check_text(vm, "state");
    const char *name = check_text(vm, "datastore");
    const json_t *datastores = json_object_get(move->destination, "datastores");
    const char *uuid = name ? check_text(find_by(datastores, "name", name), "uuid") : NULL;
    bool idle = state && (strcmp(state, "elsewhere") == 0 || strcmp(state, "stopped") == 0);
    return idle && uuid && strcmp(uuid, move->datastore_uuid) == 0;
}

static void check_known_vm(const struct checks_move *move, const json_t *vm, json_t *list)
{
    const char *host = check_host_name(move->destination);
    const char *name = check_text(vm, "name");
    const char *uuid = check_text(vm, "uuid");
    const char *state = check_text(vm, "state");
    bool same_uuid = uuid && strcmp(uuid, move->config->uuid) == 0;
    bool same_name = name && strcmp(name, move->config->name) == 0;
    if (same_uuid && same_name && is_same_vm(move, vm)) {
        return;
    }
    if (same_uuid) {
        check_add(list, CHECK_BLOCK, "name", "find out which of the two is the right one",
                  "%s already has a VM with the UUID %s: %s, which is %s", host, uuid,
                  name ? name : "(no name)", state ? state : "in an unknown state");
    } else if (same_name) {
        check_add(list, CHECK_BLOCK, "name", "rename one of the two VMs",
                  "%s already has another VM named %s", host, name);
    }
}

static void check_names(const struct checks_move *move, json_t *list)
{
    size_t index;
    json_t *vm;
    size_t before = json_array_size(list);
    if (!json_is_array(move->destination_vms)) {
        check_block_untold(list, "name", move->destination, "which VMs it has");
        return;
    }
    json_array_foreach (move->destination_vms, index, vm) {
        check_known_vm(move, vm, list);
    }
    if (json_array_size(list) == before) {
        check_add(list, CHECK_OK, "name", "", "the name %s is free on %s", move->config->name,
                  check_host_name(move->destination));
    }
}

json_t *checks_of_destination(const struct checks_move *move)
{
    json_t *list = json_array();
    check_destination_is_another(move, list);
    check_machine(move, list);
    check_qemu(move, list);
    check_accelerator(move, list);
    check_cpu(move, list);
    check_destination_engine(move, list);
    check_encryption(move, list);
    check_memory(move, list);
    check_datastore(move, list);
    check_guard(move, list);
    check_network(move, list);
    check_names(move, list);
    return list;
}
