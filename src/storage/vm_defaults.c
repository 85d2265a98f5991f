/* What a user may leave out of a new VM's definition: vm_config_complete() of vm_config.h. Wrong
 * types are left as they are, for vm_config_from_json() to name. */
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "storage/vm_config.h"

#define DEFAULT_VCPUS 1
#define DEFAULT_MEMORY_MIB 512
#define DEFAULT_MACHINE "pc-q35-7.2"
#define DEFAULT_CPU "qemu64"

/* Consumes `value`, as jansson's _new functions do. */
static void set_if_missing(json_t *object, const char *key, json_t *value)
{
    if (!json_object_get(object, key)) {
        json_object_set(object, key, value);
    }
    json_decref(value);
}

static void complete_disk(json_t *disk, size_t index)
{
    char text[VM_NAME_SIZE * 2];
    snprintf(text, sizeof(text), "disk%zu", index);
    set_if_missing(disk, "name", json_string(text));
    set_if_missing(disk, "format", json_string("qcow2"));
    const char *name = json_string_value(json_object_get(disk, "name"));
    const char *format = json_string_value(json_object_get(disk, "format"));
    if (name && format) {
        snprintf(text, sizeof(text), "%.63s.%.7s", name, format);
        set_if_missing(disk, "file", json_string(text));
    }
}

/* 52:54:00 is in the locally administered range, and the one that people know as a VM's. */
static json_t *random_mac(void)
{
    unsigned char bytes[3];
    char text[18];
    random_bytes(bytes, sizeof(bytes));
    snprintf(text, sizeof(text), "52:54:00:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2]);
    return json_string(text);
}

static void complete_lists(json_t *document)
{
    json_t *item;
    size_t index;
    json_array_foreach (json_object_get(document, "disks"), index, item) {
        if (json_is_object(item)) {
            complete_disk(item, index);
        }
    }
    json_array_foreach (json_object_get(document, "nics"), index, item) {
        if (json_is_object(item)) {
            set_if_missing(item, "mac", random_mac());
        }
    }
}

int vm_config_complete(json_t *document, struct error *err)
{
    if (!json_is_object(document)) {
        int result = error_set(err, EINVAL, "a VM's definition must be a JSON object");
        error_remedy(err, "see \"config\" of POST /v1/vms in the API's description");
        return result;
    }
    char uuid[UUID_TEXT_SIZE];
    uuid_generate(uuid);
    set_if_missing(document, "drover_vm", json_integer(VM_CONFIG_VERSION));
    set_if_missing(document, "uuid", json_string(uuid));
    set_if_missing(document, "vcpus", json_integer(DEFAULT_VCPUS));
    set_if_missing(document, "memory_mib", json_integer(DEFAULT_MEMORY_MIB));
    set_if_missing(document, "machine", json_string(DEFAULT_MACHINE));
    set_if_missing(document, "cpu", json_string(DEFAULT_CPU));
    set_if_missing(document, "accelerator", json_string("auto"));
    set_if_missing(document, "vga", json_true());
    set_if_missing(document, "disks", json_array());
    set_if_missing(document, "nics", json_array());
    complete_lists(document);
    return 0;
}
