/*
 * drover vm create: a VM's definition from a file, from options, or from both. What an option says
 * goes over the file; disks and NICs from options come after the file's, but a disk that the file
 * defines takes the first --disk or --import that is given: a definition says what a disk is, an
 * option what is on it. What neither says is the agent's to fill in.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/command.h"

#define CONFIG_BYTES_MOST 65536
#define VCPUS_MOST 64

const struct option_spec vm_create_options[] = {
    {"--memory", "SIZE", "memory, such as 512M or 4G (512M)"},
    {"--vcpus", "N", "virtual CPUs (1)"},
    {"--disk", "SIZE[,format=F]", "a new, empty disk; F is qcow2 (the default) or raw"},
    {"--import", "IMAGE[,format=F]", "a disk copied from an image on the agent's host"},
    {"--nic", "PORTGROUP[,mac=M]", "a NIC on a port group"},
    {"--cpu", "MODEL", "CPU model, as QEMU names it"},
    {"--machine", "TYPE", "machine type, as QEMU names it; pinned for good"},
    {"--accelerator", "KIND", "auto (the default), kvm or tcg"},
    {"--no-vga", NULL, "no graphics card, no VNC"},
    {"--kernel", "FILE", "boot this Linux kernel instead of a disk"},
    {"--initrd", "FILE", "with this initial RAM disk"},
    {"--append", "ARGUMENTS", "and this kernel command line"},
    {"--datastore", "NAME", "where the VM's folder goes (the agent's first)"},
    {"--file", "CONFIG.json", "begin with this definition, as in a vm.json"},
    {NULL},
};

struct draft {
    const struct arguments *arguments;
    bool local;      /* paths mean the same to the agent */
    json_t *config;  /* owned, as all below */
    json_t *disks;   /* what is on each of the configuration's disks */
    json_t *request; /* what is sent */
};

static void draft_done(struct draft *draft)
{
    json_decref(draft->config);
    json_decref(draft->disks);
    json_decref(draft->request);
}

static int no_memory(struct error *err)
{
    return error_set_errno(err, ENOMEM, "cannot write the VM's definition");
}

/* The list at key, made when it is missing. Borrowed. */
static json_t *list_of(json_t *object, const char *key)
{
    json_t *list = json_object_get(object, key);
    if (!list) {
        list = json_array();
        json_object_set_new(object, key, list);
    }
    return list;
}

/* JSON holds nothing else: what could not be sent must not be left out in silence. */
static int check_text(const struct arguments *arguments, struct error *err)
{
    for (size_t i = 0; i < arguments->option_count; i++) {
        const char *value = arguments->options[i].value;
        json_t *text = value ? json_string(value) : json_null();
        if (!text) {
            return error_set(err, EINVAL, "the value of %s is not valid UTF-8",
                             arguments->options[i].spec->name);
        }
        json_decref(text);
    }
    return 0;
}

static int begin(struct draft *draft, const char *name, struct error *err)
{
    const char *file = arguments_value(draft->arguments, "--file");
    draft->disks = json_array();
    draft->config = file ? json_read_file(file, CONFIG_BYTES_MOST, err) : json_object();
    if (!draft->config) {
        return file ? -err->code : no_memory(err);
    }
    if (!json_is_object(draft->config)) {
        return error_set(err, EINVAL, "%s must hold an object", file);
    }
    json_t *disks;
    json_t *nics;
    if (json_get_array_or_empty(draft->config, file ? file : "options", "disks", &disks, err) < 0 ||
        json_get_array_or_empty(draft->config, file ? file : "options", "nics", &nics, err) < 0) {
        return -err->code;
    }
    return json_object_set_new(draft->config, "name", json_string(name)) < 0 ? no_memory(err) : 0;
}

static int set_sizes(struct draft *draft, struct error *err)
{
    uint64_t bytes = 1 << 20;
    int64_t vcpus = 1;
    if (arguments_size(draft->arguments, "--memory", &bytes, err) < 0 ||
        arguments_integer(draft->arguments, "--vcpus", 1, VCPUS_MOST, &vcpus, err) < 0) {
        return -err->code;
    }
    if (bytes == 0 || bytes % (1 << 20) != 0) {
        return error_set(err, EINVAL, "--memory must be a whole number of MiB");
    }
    if (arguments_has(draft->arguments, "--memory")) {
        json_object_set_new(draft->config, "memory_mib", json_integer((json_int_t)(bytes >> 20)));
    }
    if (arguments_has(draft->arguments, "--vcpus")) {
        json_object_set_new(draft->config, "vcpus", json_integer(vcpus));
    }
    return 0;
}

static int set_models(struct draft *draft, struct error *err)
{
    const char *accelerator = arguments_value(draft->arguments, "--accelerator");
    static const char *const kinds[] = {"auto", "kvm", "tcg", NULL};
    static const struct {
        const char *option;
        const char *key;
    } rows[] = {{"--cpu", "cpu"}, {"--machine", "machine"}, {"--accelerator", "accelerator"}};
    bool known = !accelerator;
    for (size_t i = 0; !known && kinds[i]; i++) {
        known = strcmp(kinds[i], accelerator) == 0;
    }
    if (!known) {
        return error_set(err, EINVAL, "--accelerator must be auto, kvm or tcg, not \"%s\"",
                         accelerator);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *value = arguments_value(draft->arguments, rows[i].option);
        if (value) {
            json_object_set_new(draft->config, rows[i].key, json_string(value));
        }
    }
    if (arguments_has(draft->arguments, "--no-vga")) {
        json_object_set_new(draft->config, "vga", json_false());
    }
    return 0;
}

/* A path as the agent will see it: whole, since it has another working directory. */
static int make_path(const struct draft *draft, const char *option, const char *path,
                     json_t **ret_path, struct error *err)
{
    char folder[PATH_MAX];
    if (path[0] != '/' && !draft->local) {
        error_set(err, EINVAL, "%s %s: the agent is on another host", option, path);
        return error_remedy(err, "give a whole path on that host, beginning with /");
    }
    if (path[0] != '/' && !getcwd(folder, sizeof(folder))) {
        return error_set_errno(err, errno, "%s %s", option, path);
    }
    CLEANUP_FREE char *whole = path[0] == '/' ? strdup(path) : file_path("%s/%s", folder, path);
    *ret_path = whole ? json_string(whole) : NULL;
    return *ret_path ? 0 : error_set(err, EINVAL, "%s: the path is not valid UTF-8", option);
}

/* Splits "VALUE,key=EXTRA"; *ret_extra is NULL when there is no such part. Borrowed from `copy`. */
static int split_value(char *copy, const char *option, const char *key, const char **ret_extra,
                       struct error *err)
{
    char *comma = strrchr(copy, ',');
    size_t length = strlen(key);
    *ret_extra = NULL;
    if (!comma) {
        return 0;
    }
    if (strncmp(comma + 1, key, length) != 0 || comma[1 + length] != '=') {
        error_set(err, EINVAL, "%s does not know \"%s\"", option, comma + 1);
        return error_remedy(err, "it takes %s=", key);
    }
    *comma = '\0';
    *ret_extra = comma + 1 + length + 1;
    return 0;
}

/* The configuration of the disk that the next --disk or --import is about. Borrowed. */
static json_t *next_disk(struct draft *draft)
{
    json_t *disks = list_of(draft->config, "disks");
    size_t index = json_array_size(draft->disks);
    if (index >= json_array_size(disks)) {
        json_array_append_new(disks, json_object());
    }
    return json_array_get(disks, index);
}

static int add_disk(struct draft *draft, const char *option, const char *value, struct error *err)
{
    CLEANUP_FREE char *copy = strdup(value);
    const char *format;
    if (!copy) {
        return no_memory(err);
    }
    if (split_value(copy, option, "format", &format, err) < 0) {
        return -err->code;
    }
    if (format && strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0) {
        return error_set(err, EINVAL, "%s %s: a disk is qcow2 or raw", option, value);
    }
    json_t *disk = next_disk(draft);
    if (format) {
        json_object_set_new(disk, "format", json_string(format));
    }
    json_t *content = NULL;
    if (strcmp(option, "--import") == 0) {
        json_t *path = NULL;
        if (make_path(draft, option, copy, &path, err) < 0) {
            return -err->code;
        }
        content = json_pack("{s:o}", "import", path);
    } else {
        uint64_t bytes = 0;
        if (units_parse_size(copy, &bytes, err) < 0) {
            return error_wrap(err, "%s", option);
        }
        content = json_pack("{s:I}", "size_bytes", (json_int_t)bytes);
    }
    return json_array_append_new(draft->disks, content) < 0 ? no_memory(err) : 0;
}

static int add_nic(struct draft *draft, const char *value, struct error *err)
{
    CLEANUP_FREE char *copy = strdup(value);
    const char *mac;
    if (!copy) {
        return no_memory(err);
    }
    if (split_value(copy, "--nic", "mac", &mac, err) < 0) {
        return -err->code;
    }
    json_t *nic = json_pack("{s:s,s:s*}", "port_group", copy, "mac", mac);
    return json_array_append_new(list_of(draft->config, "nics"), nic) < 0 ? no_memory(err) : 0;
}

static int add_devices(struct draft *draft, struct error *err)
{
    for (size_t i = 0; i < draft->arguments->option_count; i++) {
        const char *option = draft->arguments->options[i].spec->name;
        const char *value = draft->arguments->options[i].value;
        int result = 0;
        if (strcmp(option, "--disk") == 0 || strcmp(option, "--import") == 0) {
            result = add_disk(draft, option, value, err);
        } else if (strcmp(option, "--nic") == 0) {
            result = add_nic(draft, value, err);
        }
        if (result < 0) {
            return result;
        }
    }
    size_t defined = json_array_size(json_object_get(draft->config, "disks"));
    size_t given = json_array_size(draft->disks);
    if (defined > given) {
        error_set(err, EINVAL, "the definition has %zu disks, but only %zu have a content", defined,
                  given);
        return error_remedy(err, "give --disk SIZE or --import IMAGE for each, in their order");
    }
    return 0;
}

/* Boot files keep their own names in the VM's folder: one kernel, one initial RAM disk. */
static int add_boot(struct draft *draft, struct error *err)
{
    static const struct {
        const char *option;
        const char *key; /* in the request, and in the configuration's "boot" */
        const char *file;
    } rows[] = {{"--kernel", "kernel", "kernel"}, {"--initrd", "initrd", "initrd"}};
    const char *append = arguments_value(draft->arguments, "--append");
    json_t *boot = json_object();
    json_t *given = json_object_get(draft->config, "boot");
    json_object_update(boot, given);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *value = arguments_value(draft->arguments, rows[i].option);
        json_t *path = NULL;
        if (value && make_path(draft, rows[i].option, value, &path, err) < 0) {
            json_decref(boot);
            return -err->code;
        }
        if (value) {
            json_object_set_new(draft->request, rows[i].key, path);
            json_object_set_new(boot, rows[i].key, json_string(rows[i].file));
        }
    }
    if (append) {
        json_object_set_new(boot, "arguments", json_string(append));
    }
    bool has_kernel = json_object_get(boot, "kernel") != NULL;
    bool empty = json_object_size(boot) == 0;
    json_object_set_new(draft->config, "boot", boot);
    if (empty) {
        json_object_del(draft->config, "boot");
    } else if (!has_kernel) {
        return error_set(err, EINVAL, "--initrd and --append go with --kernel only");
    }
    return 0;
}

static int finish(struct draft *draft, struct error *err)
{
    const char *datastore = arguments_value(draft->arguments, "--datastore");
    if (datastore) {
        json_object_set_new(draft->request, "datastore", json_string(datastore));
    }
    if (json_object_set(draft->request, "config", draft->config) < 0 ||
        json_object_set(draft->request, "disks", draft->disks) < 0) {
        return no_memory(err);
    }
    return 0;
}

int vm_create_command(struct cli *cli, struct error *err)
{
    CLEANUP(draft_done)
    struct draft draft = {
        .arguments = &cli->arguments, .local = api_is_local(cli->api), .request = json_object()};
    CLEANUP_JSON json_t *vm = NULL;
    const char *name;
    if (command_name(cli, 0, "VM", &name, err) < 0 || check_text(&cli->arguments, err) < 0 ||
        begin(&draft, name, err) < 0 || set_sizes(&draft, err) < 0 || set_models(&draft, err) < 0 ||
        add_devices(&draft, err) < 0 || add_boot(&draft, err) < 0 || finish(&draft, err) < 0) {
        return -err->code;
    }
    int result =
        api_call(cli->api, "POST", "/v1/vms", draft.request, API_SECONDS_UNLIMITED, &vm, err);
    if (result < 0) {
        return result;
    }
    if (cli->json) {
        return command_print_json(cli, vm, err);
    }
    fprintf(cli->output.stream, "%s created\n", name);
    return 0;
}
