/*
 * vm.json, read and written: see vm_config.h. Every value is checked here, once and for all: what
 * is in a struct vm_config may go into a path or a QEMU option without further thought.
 */
#include "storage/vm_config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define DISK_NAME_LENGTH_MOST 31 /* of a node name in QEMU */

/* An item of a list, as errors name it: "vm.json: disks[2]". */
struct item_label {
    char text[256];
};

static struct item_label item_label(const char *what, const char *list, size_t index)
{
    struct item_label label;
    snprintf(label.text, sizeof(label.text), "%s: %s[%zu]", what, list, index);
    return label;
}

static int refuse(struct error *err, const char *what, const char *key, const char *value,
                  const char *reason, const char *remedy)
{
    int result = error_set(err, EINVAL, "%s: \"%s\" is \"%.80s\", %s", what, key, value, reason);
    error_remedy(err, "%s", remedy);
    return result;
}

/* ---- single values ---- */

static int read_name(const json_t *object, const char *what, const char *key,
                     char ret_name[VM_NAME_SIZE], struct error *err)
{
    const char *name;
    int result = json_get_string(object, what, key, &name, err);
    if (result < 0) {
        return result;
    }
    if (!file_name_is_safe(name)) {
        return refuse(err, what, key, name, "which is not a plain name",
                      "use 1 to 63 of the characters A-Z, a-z, 0-9, '.', '_' and '-', beginning "
                      "with a letter, a digit or '_'");
    }
    snprintf(ret_name, VM_NAME_SIZE, "%s", name);
    return 0;
}

static int read_choice(const json_t *object, const char *what, const char *key,
                       const char *const *choices, char *ret_choice, size_t size, struct error *err)
{
    const char *value;
    int result = json_get_string(object, what, key, &value, err);
    if (result < 0) {
        return result;
    }
    char known[128] = "";
    for (; *choices; choices++) {
        if (strcmp(value, *choices) == 0) {
            snprintf(ret_choice, size, "%s", value);
            return 0;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", *choices);
    }
    int refused = error_set(err, EINVAL, "%s: \"%s\" is \"%.80s\", which is none of: %s", what, key,
                            value, known);
    error_remedy(err, "use one of: %s", known);
    return refused;
}

static int read_uuid(const json_t *document, const char *what, char ret_uuid[UUID_TEXT_SIZE],
                     struct error *err)
{
    const char *uuid;
    int result = json_get_string(document, what, "uuid", &uuid, err);
    if (result < 0) {
        return result;
    }
    if (!uuid_is_valid(uuid)) {
        return refuse(err, what, "uuid", uuid, "which is not a UUID",
                      "write it in lower case, as 0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4a");
    }
    memcpy(ret_uuid, uuid, UUID_TEXT_SIZE);
    return 0;
}

/* A type with its version at the end ("pc-q35-7.2"): an alias such as "q35" means another machine
 * after an upgrade of QEMU, and could then not be moved. */
static bool machine_is_pinned(const char *machine)
{
    const char *version = strrchr(machine, '-');
    unsigned major;
    unsigned minor;
    char rest;
    return version && isdigit((unsigned char)version[1]) &&
           sscanf(version + 1, "%3u.%3u%c", &major, &minor, &rest) == 2;
}

static int read_machine(const json_t *document, const char *what, struct vm_config *config,
                        struct error *err)
{
    int result = read_name(document, what, "machine", config->machine, err);
    if (result < 0) {
        return result;
    }
    if (!machine_is_pinned(config->machine)) {
        return refuse(err, what, "machine", config->machine, "which names no version",
                      "pin the machine type, as pc-q35-7.2");
    }
    result = read_name(document, what, "cpu", config->cpu, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(config->cpu, "host") == 0 || strcmp(config->cpu, "max") == 0) {
        return refuse(err, what, "cpu", config->cpu, "which differs from host to host",
                      "name a CPU model, as qemu64 or Nehalem");
    }
    static const char *const accelerators[] = {"auto", "kvm", "tcg", NULL};
    return read_choice(document, what, "accelerator", accelerators, config->accelerator,
                       sizeof(config->accelerator), err);
}

static int read_size(const json_t *document, const char *what, struct vm_config *config,
                     struct error *err)
{
    int64_t vcpus;
    int64_t memory_mib;
    int result = json_get_integer(document, what, "vcpus", 1, VM_VCPUS_MOST, &vcpus, err);
    if (result < 0) {
        error_remedy(err, "give the VM 1 to %d vCPUs", VM_VCPUS_MOST);
        return result;
    }
    result = json_get_integer(document, what, "memory_mib", VM_MEMORY_MIB_LEAST, VM_MEMORY_MIB_MOST,
                              &memory_mib, err);
    if (result < 0) {
        error_remedy(err, "give the VM %d to %d MiB of memory", VM_MEMORY_MIB_LEAST,
                     VM_MEMORY_MIB_MOST);
        return result;
    }
    config->vcpus = (unsigned)vcpus;
    config->memory_mib = (uint64_t)memory_mib;
    return 0;
}

/* ---- lists ---- */

static int read_list(const json_t *document, const char *what, const char *key, size_t most,
                     json_t **ret_list, struct error *err)
{
    int result = json_get_array_or_empty(document, what, key, ret_list, err);
    if (result == 0 && json_array_size(*ret_list) > most) {
        result = error_set(err, EINVAL, "%s: \"%s\" has %zu entries; at most %zu are possible",
                           what, key, json_array_size(*ret_list), most);
        error_remedy(err, "remove some of \"%s\"", key);
    }
    return result;
}

/* Files that the folder holds for Drover itself. */
static bool file_is_reserved(const char *file)
{
    return strcmp(file, VM_CONFIG_FILE) == 0 || strncmp(file, "owner.", strlen("owner.")) == 0 ||
           strncmp(file, "lease.", strlen("lease.")) == 0;
}

static int read_file_name(const json_t *object, const char *what, const char *key,
                          char ret_file[VM_NAME_SIZE], struct error *err)
{
    int result = read_name(object, what, key, ret_file, err);
    if (result == 0 && file_is_reserved(ret_file)) {
        return refuse(err, what, key, ret_file, "which is a file of Drover's own",
                      "give the file another name");
    }
    return result;
}

static int check_disk_is_alone(const struct vm_config *config, const struct vm_disk *disk,
                               const char *what, struct error *err)
{
    for (size_t i = 0; i < config->disk_count; i++) {
        if (strcmp(config->disks[i].name, disk->name) == 0) {
            return refuse(err, what, "name", disk->name, "as another disk is",
                          "give each disk a name of its own");
        }
        if (strcmp(config->disks[i].file, disk->file) == 0) {
            return refuse(err, what, "file", disk->file, "as another disk's is",
                          "give each disk a file of its own");
        }
    }
    return 0;
}

static int read_disk(const json_t *object, const char *what, struct vm_config *config,
                     struct error *err)
{
    static const char *const keys[] = {"name", "file", "format", NULL};
    static const char *const formats[] = {"qcow2", "raw", NULL};
    struct vm_disk *disk = &config->disks[config->disk_count];
    int result = json_refuse_unknown_keys(object, what, keys, err);
    if (result < 0 || (result = read_name(object, what, "name", disk->name, err)) < 0 ||
        (result = read_file_name(object, what, "file", disk->file, err)) < 0 ||
        (result = read_choice(object, what, "format", formats, disk->format, sizeof(disk->format),
                              err)) < 0) {
        return result;
    }
    if (!isalpha((unsigned char)disk->name[0]) || strlen(disk->name) > DISK_NAME_LENGTH_MOST) {
        return refuse(err, what, "name", disk->name, "which QEMU does not take",
                      "use at most 31 characters and begin with a letter");
    }
    result = check_disk_is_alone(config, disk, what, err);
    if (result == 0) {
        config->disk_count++;
    }
    return result;
}

static int read_disks(const json_t *document, const char *what, struct vm_config *config,
                      struct error *err)
{
    json_t *list;
    json_t *object;
    size_t index;
    int result = read_list(document, what, "disks", VM_DISKS_MOST, &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, index, object) {
        struct item_label label = item_label(what, "disks", index);
        if (result == 0) {
            result = read_disk(object, label.text, config, err);
        }
    }
    return result;
}

/* Six pairs of hexadecimal digits of a unicast address; stored in lower case. */
static bool parse_mac(const char *text, char ret_mac[18])
{
    if (strlen(text) != 17) {
        return false;
    }
    for (size_t i = 0; i < 17; i++) {
        bool fits = i % 3 == 2 ? text[i] == ':' : isxdigit((unsigned char)text[i]);
        if (!fits) {
            return false;
        }
        ret_mac[i] = (char)tolower((unsigned char)text[i]);
    }
    ret_mac[17] = '\0';
    bool multicast = strchr("13579bdf", ret_mac[1]) != NULL;
    return !multicast && strcmp(ret_mac, "00:00:00:00:00:00") != 0;
}

static int read_nic(const json_t *object, const char *what, struct vm_config *config,
                    struct error *err)
{
    static const char *const keys[] = {"mac", "port_group", NULL};
    struct vm_nic *nic = &config->nics[config->nic_count];
    const char *mac;
    int result = json_refuse_unknown_keys(object, what, keys, err);
    if (result < 0 || (result = json_get_string(object, what, "mac", &mac, err)) < 0 ||
        (result = read_name(object, what, "port_group", nic->port_group, err)) < 0) {
        return result;
    }
    if (!parse_mac(mac, nic->mac)) {
        return refuse(err, what, "mac", mac, "which is not the address of one card",
                      "write it as 52:54:00:12:34:56, or leave it out of a new VM");
    }
    for (size_t i = 0; i < config->nic_count; i++) {
        if (strcmp(config->nics[i].mac, nic->mac) == 0) {
            return refuse(err, what, "mac", mac, "as another NIC's is",
                          "give each NIC an address of its own");
        }
    }
    config->nic_count++;
    return 0;
}

static int read_nics(const json_t *document, const char *what, struct vm_config *config,
                     struct error *err)
{
    json_t *list;
    json_t *object;
    size_t index;
    int result = read_list(document, what, "nics", VM_NICS_MOST, &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, index, object) {
        struct item_label label = item_label(what, "nics", index);
        if (result == 0) {
            result = read_nic(object, label.text, config, err);
        }
    }
    return result;
}

static bool text_is_printable(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static int read_device(const json_t *value, const char *what, struct vm_config *config,
                       struct error *err)
{
    const char *device = json_string_value(value);
    if (!device || !*device || strlen(device) >= VM_NAME_SIZE ||
        strlen(device) != json_string_length(value) || !text_is_printable(device)) {
        int result = error_set(err, EINVAL, "%s must be a text of 1 to %d characters", what,
                               VM_NAME_SIZE - 1);
        error_remedy(err, "name the host's device, as vfio:0000:01:00.0");
        return result;
    }
    strcpy(config->devices[config->device_count++], device);
    return 0;
}

static int read_devices(const json_t *document, const char *what, struct vm_config *config,
                        struct error *err)
{
    json_t *list;
    json_t *value;
    size_t index;
    int result = read_list(document, what, "devices", VM_DEVICES_MOST, &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, index, value) {
        struct item_label label = item_label(what, "devices", index);
        if (result == 0) {
            result = read_device(value, label.text, config, err);
        }
    }
    return result;
}

/* ---- boot ---- */

static int read_arguments(const json_t *boot, const char *what, struct vm_config *config,
                          struct error *err)
{
    const char *arguments;
    int result = json_get_string_or(boot, what, "arguments", "", &arguments, err);
    if (result < 0) {
        return result;
    }
    if (strlen(arguments) >= sizeof(config->arguments) || !text_is_printable(arguments)) {
        return refuse(err, what, "arguments", arguments,
                      "which is too long or has control characters in it",
                      "write at most 1023 printable characters");
    }
    strcpy(config->arguments, arguments);
    return 0;
}

static int check_boot_file_is_alone(const struct vm_config *config, const char *what,
                                    const char *key, const char *file, struct error *err)
{
    for (size_t i = 0; i < config->disk_count; i++) {
        if (strcmp(config->disks[i].file, file) == 0) {
            return refuse(err, what, key, file, "as a disk's file is",
                          "give the boot file a name of its own");
        }
    }
    return 0;
}

static int read_boot(const json_t *document, const char *what, struct vm_config *config,
                     struct error *err)
{
    static const char *const keys[] = {"kernel", "initrd", "arguments", NULL};
    char label[256];
    json_t *boot;
    int result = json_get_object_or_null(document, what, "boot", &boot, err);
    if (result < 0 || !boot) {
        return result;
    }
    snprintf(label, sizeof(label), "%s: boot", what);
    if ((result = json_refuse_unknown_keys(boot, label, keys, err)) < 0 ||
        (result = read_file_name(boot, label, "kernel", config->kernel, err)) < 0 ||
        (result = check_boot_file_is_alone(config, label, "kernel", config->kernel, err)) < 0) {
        return result;
    }
    json_t *initrd = json_object_get(boot, "initrd");
    if (initrd && !json_is_null(initrd)) {
        if ((result = read_file_name(boot, label, "initrd", config->initrd, err)) < 0 ||
            (result = check_boot_file_is_alone(config, label, "initrd", config->initrd, err)) < 0) {
            return result;
        }
        if (strcmp(config->initrd, config->kernel) == 0) {
            return refuse(err, label, "initrd", config->initrd, "as \"kernel\" is",
                          "give the two different names");
        }
    }
    return read_arguments(boot, label, config, err);
}

/* ---- the document ---- */

static int check_version(const json_t *document, const char *what, struct error *err)
{
    int64_t version;
    int result = json_get_integer(document, what, "drover_vm", 1, INT64_MAX, &version, err);
    if (result < 0) {
        error_remedy(err, "a VM's definition says \"drover_vm\": %d", VM_CONFIG_VERSION);
        return result;
    }
    if (version > VM_CONFIG_VERSION) {
        result = error_set(err, ENOTSUP,
                           "%s has version %lld of the VM format; this Drover, %s, knows versions "
                           "up to %d",
                           what, (long long)version, DROVER_VERSION, VM_CONFIG_VERSION);
        error_remedy(err, "upgrade Drover on this host");
    }
    return result;
}

int vm_config_from_json(const json_t *document, const char *what, struct vm_config *ret_config,
                        struct error *err)
{
    static const char *const keys[] = {"drover_vm", "name", "uuid",        "vcpus", "memory_mib",
                                       "machine",   "cpu",  "accelerator", "vga",   "disks",
                                       "nics",      "boot", "devices",     NULL};
    struct vm_config config = {0};
    int result = check_version(document, what, err);
    if (result < 0 || (result = json_refuse_unknown_keys(document, what, keys, err)) < 0 ||
        (result = read_name(document, what, "name", config.name, err)) < 0 ||
        (result = read_uuid(document, what, config.uuid, err)) < 0 ||
        (result = read_size(document, what, &config, err)) < 0 ||
        (result = read_machine(document, what, &config, err)) < 0 ||
        (result = json_get_boolean_or(document, what, "vga", true, &config.vga, err)) < 0 ||
        (result = read_disks(document, what, &config, err)) < 0 ||
        (result = read_nics(document, what, &config, err)) < 0 ||
        (result = read_devices(document, what, &config, err)) < 0 ||
        (result = read_boot(document, what, &config, err)) < 0) {
        return result;
    }
    *ret_config = config;
    return 0;
}

static json_t *disks_to_json(const struct vm_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->disk_count; i++) {
        const struct vm_disk *disk = &config->disks[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "name", disk->name, "file",
                                              disk->file, "format", disk->format));
    }
    return list;
}

static json_t *nics_to_json(const struct vm_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->nic_count; i++) {
        json_array_append_new(list, json_pack("{s:s,s:s}", "mac", config->nics[i].mac, "port_group",
                                              config->nics[i].port_group));
    }
    return list;
}

static json_t *boot_to_json(const struct vm_config *config)
{
    json_t *boot = json_pack("{s:s}", "kernel", config->kernel);
    if (config->initrd[0]) {
        json_object_set_new(boot, "initrd", json_string(config->initrd));
    }
    if (config->arguments[0]) {
        json_object_set_new(boot, "arguments", json_string(config->arguments));
    }
    return boot;
}

json_t *vm_config_to_json(const struct vm_config *config)
{
    json_t *document =
        json_pack("{s:i,s:s,s:s,s:i,s:I,s:s,s:s,s:s,s:b}", "drover_vm", VM_CONFIG_VERSION, "name",
                  config->name, "uuid", config->uuid, "vcpus", (int)config->vcpus, "memory_mib",
                  (json_int_t)config->memory_mib, "machine", config->machine, "cpu", config->cpu,
                  "accelerator", config->accelerator, "vga", config->vga);
    json_object_set_new(document, "disks", disks_to_json(config));
    json_object_set_new(document, "nics", nics_to_json(config));
    if (config->kernel[0]) {
        json_object_set_new(document, "boot", boot_to_json(config));
    }
    if (config->device_count > 0) {
        json_t *devices = json_array();
        for (size_t i = 0; i < config->device_count; i++) {
            json_array_append_new(devices, json_string(config->devices[i]));
        }
        json_object_set_new(document, "devices", devices);
    }
    return document;
}
