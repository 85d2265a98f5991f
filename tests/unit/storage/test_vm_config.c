/* A VM's definition: what is written comes back, what is wrong is refused by key and value. */
#include "test.h"

#include "base/file.h"
#include "base/json.h"
#include "storage/vm_config.h"

static const char complete[] =
    "{\"drover_vm\": 1, \"name\": \"web1\", \"uuid\": \"0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4a\","
    " \"vcpus\": 2, \"memory_mib\": 1024, \"machine\": \"pc-q35-7.2\", \"cpu\": \"qemu64\","
    " \"accelerator\": \"auto\", \"vga\": false,"
    " \"disks\": [{\"name\": \"disk0\", \"file\": \"disk0.qcow2\", \"format\": \"qcow2\"},"
    "             {\"name\": \"disk1\", \"file\": \"disk1.raw\", \"format\": \"raw\"}],"
    " \"nics\": [{\"mac\": \"52:54:00:AB:cd:ef\", \"port_group\": \"vm\"}],"
    " \"boot\": {\"kernel\": \"vmlinuz\", \"initrd\": \"initramfs.gz\","
    "            \"arguments\": \"console=ttyS0 quiet\"},"
    " \"devices\": [\"vfio:0000:01:00.0\"]}";

static json_t *parse(const char *text)
{
    struct error err = ERROR_NONE;
    json_t *document = json_parse(text, strlen(text), "test", &err);
    assert_non_null(document);
    return document;
}

/* The complete definition with `change`, an object, laid over it. */
static json_t *changed(const char *change)
{
    json_t *document = parse(complete);
    CLEANUP_JSON json_t *changes = parse(change);
    json_object_update(document, changes);
    return document;
}

static void assert_refused(const char *change, const char *key, const char *value)
{
    struct error err = ERROR_NONE;
    struct vm_config config;
    memset(&config, 0x5a, sizeof(config));
    struct vm_config before = config;
    CLEANUP_JSON json_t *document = changed(change);
    assert_true(vm_config_from_json(document, "web1/vm.json", &config, &err) < 0);
    if (!strstr(err.message, "web1/vm.json") || !strstr(err.message, key) ||
        !strstr(err.message, value)) {
        fail_msg("%s is refused with: %s", change, err.message);
    }
    assert_memory_equal(&config, &before, sizeof(config));
}

static void a_complete_definition_comes_back(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct vm_config config;
    struct vm_config again;
    CLEANUP_JSON json_t *document = parse(complete);
    assert_int_equal(vm_config_from_json(document, "test", &config, &err), 0);
    CLEANUP_JSON json_t *written = vm_config_to_json(&config);
    assert_int_equal(vm_config_from_json(written, "test", &again, &err), 0);
    assert_memory_equal(&config, &again, sizeof(config));

    assert_string_equal(config.name, "web1");
    assert_int_equal(config.vcpus, 2);
    assert_int_equal(config.memory_mib, 1024);
    assert_false(config.vga);
    assert_int_equal(config.disk_count, 2);
    assert_string_equal(config.disks[1].format, "raw");
    assert_string_equal(config.nics[0].mac, "52:54:00:ab:cd:ef");
    assert_string_equal(config.initrd, "initramfs.gz");
    assert_string_equal(config.arguments, "console=ttyS0 quiet");
    assert_string_equal(config.devices[0], "vfio:0000:01:00.0");
}

static void boot_and_devices_may_be_missing(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct vm_config config;
    CLEANUP_JSON json_t *document = changed("{\"boot\": null, \"devices\": null, \"disks\": []}");
    assert_int_equal(vm_config_from_json(document, "test", &config, &err), 0);
    assert_string_equal(config.kernel, "");
    assert_int_equal(config.device_count + config.disk_count, 0);
    CLEANUP_JSON json_t *written = vm_config_to_json(&config);
    assert_null(json_object_get(written, "boot"));
    assert_null(json_object_get(written, "devices"));
}

static void a_newer_version_is_refused_naming_both(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct vm_config config;
    CLEANUP_JSON json_t *document = changed("{\"drover_vm\": 7, \"gpu\": true}");
    assert_int_equal(vm_config_from_json(document, "vm.json", &config, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "version 7"));
    assert_non_null(strstr(err.message, "up to 1"));
    assert_non_null(strstr(err.remedy, "upgrade"));
    assert_refused("{\"drover_vm\": 0}", "drover_vm", "");
    assert_refused("{\"drover_vm\": \"1\"}", "drover_vm", "");
    assert_refused("{\"drover_vm\": null}", "drover_vm", "missing");
}

static void single_values_are_checked(void **state)
{
    (void)state;
    assert_refused("{\"name\": \"../web\"}", "name", "../web");
    assert_refused("{\"name\": \"\"}", "name", "");
    assert_refused("{\"name\": \".hidden\"}", "name", ".hidden");
    assert_refused("{\"name\": 3}", "name", "string");
    assert_refused("{\"uuid\": \"0B5F8A3E-5D0C-4C7E-9A53-0D9E3F1C2B4A\"}", "uuid", "0B5F");
    assert_refused("{\"vcpus\": 0}", "vcpus", "64");
    assert_refused("{\"vcpus\": 65}", "vcpus", "64");
    assert_refused("{\"vcpus\": 1.5}", "vcpus", "whole");
    assert_refused("{\"memory_mib\": 63}", "memory_mib", "64");
    assert_refused("{\"memory_mib\": 9223372036854775807}", "memory_mib", "4194304");
    assert_refused("{\"machine\": \"q35\"}", "machine", "q35");
    assert_refused("{\"machine\": \"pc-q35-7.2,accel=kvm\"}", "machine", "accel");
    assert_refused("{\"cpu\": \"host\"}", "cpu", "host");
    assert_refused("{\"cpu\": \"qemu64,+vmx\"}", "cpu", "+vmx");
    assert_refused("{\"accelerator\": \"xen\"}", "accelerator", "auto, kvm, tcg");
    assert_refused("{\"vga\": 1}", "vga", "true or false");
    assert_refused("{\"color\": \"red\"}", "color", "");
}

static void disks_are_checked(void **state)
{
    (void)state;
    assert_refused("{\"disks\": {}}", "disks", "list");
    assert_refused("{\"disks\": [3]}", "disks[0]", "object");
    assert_refused(
        "{\"disks\": [{\"name\": \"a\", \"file\": \"/etc/shadow\", \"format\": \"raw\"}]}",
        "disks[0]: \"file\"", "/etc/shadow");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"..\", \"format\": \"raw\"}]}",
                   "disks[0]: \"file\"", "..");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"vm.json\", \"format\": \"raw\"}]}",
                   "file", "vm.json");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"owner.2\", \"format\": \"raw\"}]}",
                   "file", "owner.2");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"a\", \"format\": \"vmdk\"}]}",
                   "format", "vmdk");
    assert_refused("{\"disks\": [{\"name\": \"0a\", \"file\": \"a\", \"format\": \"raw\"}]}",
                   "name", "0a");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"a\", \"format\": \"raw\"},"
                   "{\"name\": \"a\", \"file\": \"b\", \"format\": \"raw\"}]}",
                   "disks[1]: \"name\"", "another");
    assert_refused("{\"disks\": [{\"name\": \"a\", \"file\": \"a\", \"format\": \"raw\"},"
                   "{\"name\": \"b\", \"file\": \"a\", \"format\": \"raw\"}]}",
                   "disks[1]: \"file\"", "another");
    assert_refused("{\"disks\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "disks",
                   "at most 16");
}

static void nics_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"52:54:00:12:34",    "52-54-00-12-34-56",
                                      "01:54:00:12:34:56", "ff:ff:ff:ff:ff:ff",
                                      "00:00:00:00:00:00", "52:54:00:12:34:5g"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char change[128];
        snprintf(change, sizeof(change), "{\"nics\": [{\"mac\": \"%s\", \"port_group\": \"vm\"}]}",
                 bad[i]);
        assert_refused(change, "nics[0]: \"mac\"", bad[i]);
    }
    assert_refused("{\"nics\": [{\"mac\": \"52:54:00:12:34:56\"}]}", "port_group", "missing");
    assert_refused("{\"nics\": [{\"mac\": \"52:54:00:12:34:aa\", \"port_group\": \"vm\"},"
                   "{\"mac\": \"52:54:00:12:34:AA\", \"port_group\": \"vm\"}]}",
                   "nics[1]", "another");
}

static void boot_and_devices_are_checked(void **state)
{
    (void)state;
    assert_refused("{\"boot\": {}}", "kernel", "missing");
    assert_refused("{\"boot\": {\"kernel\": \"disk0.qcow2\"}}", "kernel", "disk0.qcow2");
    assert_refused("{\"boot\": {\"kernel\": \"k\", \"initrd\": \"k\"}}", "initrd", "k");
    assert_refused("{\"boot\": {\"kernel\": \"k\", \"initrd\": \"a/b\"}}", "initrd", "a/b");
    assert_refused("{\"boot\": {\"kernel\": \"k\", \"arguments\": \"a\\nb\"}}", "arguments", "a");
    assert_refused("{\"devices\": [\"\"]}", "devices[0]", "");
    assert_refused("{\"devices\": [7]}", "devices[0]", "");

    char change[1200];
    char arguments[1025];
    memset(arguments, 'a', 1024);
    arguments[1024] = '\0';
    snprintf(change, sizeof(change), "{\"boot\": {\"kernel\": \"k\", \"arguments\": \"%s\"}}",
             arguments);
    assert_refused(change, "arguments", "aaa");
}

static void what_is_left_out_is_completed(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct vm_config config;
    CLEANUP_JSON json_t *document =
        parse("{\"name\": \"web1\", \"disks\": [{}, {\"format\": \"raw\"}, {\"name\": \"data\"}],"
              " \"nics\": [{\"port_group\": \"vm\"}, {\"port_group\": \"vm\"}]}");
    assert_int_equal(vm_config_complete(document, &err), 0);
    assert_int_equal(vm_config_from_json(document, "test", &config, &err), 0);
    assert_true(uuid_is_valid(config.uuid));
    assert_int_equal(config.vcpus, 1);
    assert_int_equal(config.memory_mib, 512);
    assert_string_equal(config.machine, "pc-q35-7.2");
    assert_string_equal(config.cpu, "qemu64");
    assert_string_equal(config.accelerator, "auto");
    assert_true(config.vga);
    assert_string_equal(config.disks[0].file, "disk0.qcow2");
    assert_string_equal(config.disks[1].file, "disk1.raw");
    assert_string_equal(config.disks[2].file, "data.qcow2");
    assert_memory_equal(config.nics[0].mac, "52:54:00:", 9);
    assert_string_not_equal(config.nics[0].mac, config.nics[1].mac);
}

static void what_is_given_is_kept_even_when_it_is_wrong(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct vm_config config;
    CLEANUP_JSON json_t *document =
        parse("{\"name\": \"web1\", \"vcpus\": \"two\", \"disks\": [7], \"nics\": \"none\"}");
    assert_int_equal(vm_config_complete(document, &err), 0);
    assert_int_equal(vm_config_from_json(document, "test", &config, &err), -EINVAL);
    assert_non_null(strstr(err.message, "vcpus"));
    CLEANUP_JSON json_t *list = json_array();
    assert_int_equal(vm_config_complete(list, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_definition_comes_back),
        cmocka_unit_test(boot_and_devices_may_be_missing),
        cmocka_unit_test(a_newer_version_is_refused_naming_both),
        cmocka_unit_test(single_values_are_checked),
        cmocka_unit_test(disks_are_checked),
        cmocka_unit_test(nics_are_checked),
        cmocka_unit_test(boot_and_devices_are_checked),
        cmocka_unit_test(what_is_left_out_is_completed),
        cmocka_unit_test(what_is_given_is_kept_even_when_it_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
