/* A VM's folder appears whole or not at all, and nothing in it leads out of it. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "scratch.h"

#include "storage/lease.h"
#include "storage/vm_folder.h"

static struct datastore open_store(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore;
    char path[128];
    snprintf(path, sizeof(path), "%s/store", (const char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(datastore_open("store", path, &datastore, &err), 0);
    return datastore;
}

/* web1 with a qcow2 and a raw disk, and a kernel when `kernel` says so. */
static struct vm_config make_config(bool kernel)
{
    struct error err = ERROR_NONE;
    struct vm_config config;
    CLEANUP_JSON json_t *document =
        json_pack("{s:s,s:[{},{s:s}]}", "name", "web1", "disks", "format", "raw");
    assert_int_equal(vm_config_complete(document, &err), 0);
    if (kernel) {
        json_object_set_new(document, "boot", json_pack("{s:s}", "kernel", "vmlinuz"));
    }
    assert_int_equal(vm_config_from_json(document, "test", &config, &err), 0);
    return config;
}

static struct vm_folder_sources empty_disks(void)
{
    struct vm_folder_sources sources = {0};
    sources.disks[0].size_bytes = 64 << 20;
    sources.disks[1].size_bytes = 2 << 20;
    return sources;
}

static void run(const char *format, const char *path)
{
    char command[512];
    snprintf(command, sizeof(command), format, path, path);
    assert_int_equal(system(command), 0);
}

/* Nothing but the marker is on the datastore. */
static void assert_nothing_left(const struct datastore *datastore)
{
    run("test \"$(ls -A %s)\" = drover-datastore.json", datastore->path);
}

static void a_folder_is_made_loaded_opened_and_removed(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct vm_config config = make_config(true);
    struct vm_config loaded;
    struct vm_folder_sources sources = empty_disks();
    char kernel[128];
    scratch_write(state, "bzImage", "kernel code");
    snprintf(kernel, sizeof(kernel), "%s/bzImage", (const char *)*state);
    sources.kernel_path = kernel;
    if (vm_folder_create(&datastore, &config, &sources, &err) < 0) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(vm_folder_load(&datastore, "web1", &loaded, &err), 0);
    assert_memory_equal(&loaded, &config, sizeof(config));

    CLEANUP_CLOSE int disk =
        vm_folder_open_file(&datastore, "web1", "disk0.qcow2", "qcow2", O_RDWR, &err);
    assert_true(disk >= 0);
    CLEANUP_CLOSE int raw =
        vm_folder_open_file(&datastore, "web1", "disk1.raw", "raw", O_RDWR, &err);
    assert_int_equal(lseek(raw, 0, SEEK_END), 2 << 20);
    CLEANUP_CLOSE int copied =
        vm_folder_open_file(&datastore, "web1", "vmlinuz", NULL, O_RDONLY, &err);
    char text[32] = "";
    assert_int_equal(read(copied, text, sizeof(text)), strlen("kernel code"));
    assert_string_equal(text, "kernel code");

    assert_int_equal(vm_folder_remove(&datastore, "web1", 0, &err), 0);
    assert_nothing_left(&datastore);
    assert_int_equal(vm_folder_load(&datastore, "web1", &loaded, &err), -ENOENT);
    assert_int_equal(vm_folder_remove(&datastore, "web1", 0, &err), -ENOENT);
}

/* Returns its configuration. */
static struct vm_config create_web1(const struct datastore *datastore)
{
    struct error err = ERROR_NONE;
    struct vm_config config = make_config(false);
    struct vm_folder_sources sources = empty_disks();
    assert_int_equal(vm_folder_create(datastore, &config, &sources, &err), 0);
    return config;
}

/* Its remover stood still for so long that another host could take it over. */
static void a_machine_that_was_taken_meanwhile_stays(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct vm_config loaded;
    create_web1(&datastore);
    assert_int_equal(lease_advance(&datastore, "web1", 0, "h1", &err), 0);
    assert_int_equal(lease_advance(&datastore, "web1", 1, "h2", &err), 0);
    assert_int_equal(vm_folder_remove(&datastore, "web1", 1, &err), -EBUSY);
    assert_non_null(strstr(err.message, "h2"));
    assert_int_equal(vm_folder_load(&datastore, "web1", &loaded, &err), 0);
    assert_int_equal(vm_folder_remove(&datastore, "web1", 2, &err), 0);
    assert_nothing_left(&datastore);
}

static void a_taken_name_is_refused_and_left_alone(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct vm_config config = create_web1(&datastore);
    struct vm_config loaded;
    struct vm_folder_sources sources = empty_disks();
    struct vm_config other = make_config(false);
    assert_int_equal(vm_folder_create(&datastore, &other, &sources, &err), -EEXIST);
    assert_non_null(strstr(err.message, "web1"));
    assert_int_equal(vm_folder_load(&datastore, "web1", &loaded, &err), 0);
    assert_string_equal(loaded.uuid, config.uuid);
}

static void of_many_creators_one_wins(void **state)
{
    struct datastore datastore = open_store(state);
    int winners = 0;
    for (int i = 0; i < 6; i++) {
        if (fork() == 0) {
            struct vm_config config = make_config(false);
            struct vm_folder_sources sources = empty_disks();
            struct error err = ERROR_NONE;
            int result = vm_folder_create(&datastore, &config, &sources, &err);
            if (result < 0 && result != -EEXIST) {
                fprintf(stderr, "# %s\n", err.message);
            }
            _exit(result == 0 ? 0 : result == -EEXIST ? 1 : 2);
        }
    }
    for (int i = 0; i < 6; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        winners += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(winners, 1);
    run("test \"$(ls -A %s | wc -l)\" = 2", datastore.path);
}

static void assert_create_fails(const struct datastore *datastore, const struct vm_config *config,
                                const struct vm_folder_sources *sources, int code,
                                const char *words)
{
    struct error err = ERROR_NONE;
    assert_int_equal(vm_folder_create(datastore, config, sources, &err), -code);
    if (!strstr(err.message, words)) {
        fail_msg("\"%s\" does not say %s", err.message, words);
    }
    assert_nothing_left(datastore);
}

static void after_a_failure_nothing_is_left(void **state)
{
    struct datastore datastore = open_store(state);
    struct vm_config config = make_config(false);
    struct vm_config with_kernel = make_config(true);
    struct vm_folder_sources sources = empty_disks();
    sources.disks[1].size_bytes = 1000;
    assert_create_fails(&datastore, &config, &sources, EINVAL, "disk1");
    sources.disks[1].size_bytes = 1ULL << 60;
    assert_create_fails(&datastore, &config, &sources, EINVAL, "64 TiB");
    sources = empty_disks();
    sources.disks[1].import_path = "/nowhere/image";
    assert_create_fails(&datastore, &config, &sources, ENOENT, "/nowhere/image");
    sources.disks[1].import_path = "nbd://127.0.0.1/x";
    assert_create_fails(&datastore, &config, &sources, EINVAL, "absolute");
    sources.disks[1].import_path = "/dev/zero";
    assert_create_fails(&datastore, &config, &sources, EINVAL, "/dev/zero");
    sources = empty_disks();
    assert_create_fails(&datastore, &with_kernel, &sources, EINVAL, "kernel");
    sources.kernel_path = "/etc/hostname";
    assert_create_fails(&datastore, &config, &sources, EINVAL, "kernel");
    sources.kernel_path = "/dev/null";
    assert_create_fails(&datastore, &with_kernel, &sources, EINVAL, "/dev/null");
}

static void a_failing_qemu_img_leaves_nothing(void **state)
{
    struct datastore datastore = open_store(state);
    struct vm_config config = make_config(false);
    struct vm_folder_sources sources = empty_disks();
    strcpy(config.disks[1].format, "no-such");
    assert_create_fails(&datastore, &config, &sources, EIO, "no-such");
}

static void images_are_imported_from_other_formats(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct vm_config config = make_config(false);
    struct vm_folder_sources sources = empty_disks();
    char image[128];
    run("head -c 3000000 /dev/urandom > %s/image.raw && truncate -s 4M %s/image.raw", *state);
    run("qemu-img convert -f raw -O qcow2 -c %s/image.raw %s/image", *state);
    snprintf(image, sizeof(image), "%s/image", (const char *)*state);
    sources.disks[0].import_path = image;
    sources.disks[1].import_path = image;
    if (vm_folder_create(&datastore, &config, &sources, &err) < 0) {
        fail_msg("%s", err.message);
    }
    run("cmp %s/image.raw %s/store/web1/disk1.raw", *state);
    run("qemu-img compare -q %s/image.raw %s/store/web1/disk0.qcow2", *state);
}

static void images_that_name_other_files_are_refused(void **state)
{
    struct datastore datastore = open_store(state);
    struct vm_config config = make_config(false);
    struct vm_folder_sources sources = empty_disks();
    char image[128];
    snprintf(image, sizeof(image), "%s/image", (const char *)*state);
    sources.disks[0].import_path = image;
    run("qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw %s/image 1M", *state);
    assert_create_fails(&datastore, &config, &sources, EINVAL, "another file");
    run("qemu-img create -q -f qcow2 -o data_file=%s/data %s/image 1M", *state);
    assert_create_fails(&datastore, &config, &sources, EINVAL, "another file");
    run("rm %s/image; qemu-img create -q -f vmdk -o subformat=monolithicFlat %s/image 1M", *state);
    assert_create_fails(&datastore, &config, &sources, EINVAL, "image");
    run("head -c 65536 /dev/urandom > %s/image; printf 'QFI\\373\\0\\0\\0\\3' |"
        " dd of=%s/image conv=notrunc status=none",
        *state);
    assert_create_fails(&datastore, &config, &sources, EINVAL, "image");
}

static void a_full_datastore_is_told_before_anything_is_made(void **state)
{
    struct vm_config config = make_config(false);
    struct vm_folder_sources sources = empty_disks();
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    char image[128];
    run("mount -t tmpfs -o size=4M none %s/store", *state);
    assert_int_equal(datastore_open("store", datastore.path, &datastore, &err), 0);
    run("head -c 8000000 /dev/urandom > %s/image", *state);
    snprintf(image, sizeof(image), "%s/image", (const char *)*state);
    sources.disks[0].import_path = image;
    int result = vm_folder_create(&datastore, &config, &sources, &err);
    run("test \"$(ls -A %s)\" = drover-datastore.json", datastore.path);
    run("umount %s", datastore.path);
    assert_int_equal(result, -ENOSPC);
    assert_non_null(strstr(err.message, "needs"));
}

static void assert_open_fails(const struct datastore *datastore, const char *file,
                              const char *format, int code)
{
    struct error err = ERROR_NONE;
    int result = vm_folder_open_file(datastore, "web1", file, format, O_RDWR, &err);
    if (result != -code) {
        fail_msg("%s gives %d (%s)", file, result, err.message);
    }
}

static void only_files_of_the_folder_are_opened(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    run("mkdir %s/store/web1 && cd %s/store/web1 && ln -s /etc/hostname link && mkdir folder &&"
        " mkfifo pipe && mknod zero c 1 5 && truncate -s 1M raw &&"
        " qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw backed 1M &&"
        " qemu-img create -q -f qcow2 -o data_file=data.raw split 1M",
        *state);
    assert_open_fails(&datastore, "link", "raw", ELOOP);
    assert_open_fails(&datastore, "folder", "raw", EINVAL);
    assert_open_fails(&datastore, "pipe", "raw", EINVAL);
    assert_open_fails(&datastore, "zero", "raw", EINVAL);
    assert_open_fails(&datastore, "raw", "qcow2", EINVAL);
    assert_open_fails(&datastore, "backed", "qcow2", EINVAL);
    assert_open_fails(&datastore, "split", "qcow2", EINVAL);
    assert_open_fails(&datastore, "../web1/raw", "raw", EINVAL);
    assert_open_fails(&datastore, "/etc/hostname", "raw", EINVAL);
    assert_open_fails(&datastore, "missing", "raw", ENOENT);
    assert_int_equal(vm_folder_open_file(&datastore, "..", "raw", "raw", O_RDONLY, &err), -EINVAL);
    CLEANUP_CLOSE int raw = vm_folder_open_file(&datastore, "web1", "raw", "raw", O_RDWR, &err);
    assert_true(raw >= 0);
    assert_int_equal(fcntl(raw, F_GETFD), FD_CLOEXEC);
}

static void removal_does_not_follow_links(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    run("mkdir %s/kept && touch %s/kept/file", *state);
    run("mkdir %s/store/web1 && ln -s ../../kept %s/store/web1/link", *state);
    run("ln -s ../kept %s/store/web2", *state);
    assert_true(vm_folder_remove(&datastore, "web2", 0, &err) < 0);
    assert_int_equal(vm_folder_remove(&datastore, "..", 0, &err), -EINVAL);
    assert_int_equal(vm_folder_remove(&datastore, "web1", 0, &err), 0);
    run("test -e %s/kept/file && test ! -e %s/store/web1", *state);
}

static void an_endless_definition_is_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct vm_config config;
    struct datastore datastore = open_store(state);
    run("mkdir %s/store/web1 && head -c 70000 /dev/zero > %s/store/web1/vm.json", *state);
    assert_int_equal(vm_folder_load(&datastore, "web1", &config, &err), -EFBIG);
    run("rm %s/store/web1/vm.json && mkfifo %s/store/web1/vm.json", *state);
    assert_int_equal(vm_folder_load(&datastore, "web1", &config, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_folder_is_made_loaded_opened_and_removed),
        scratch_test(a_machine_that_was_taken_meanwhile_stays),
        scratch_test(a_taken_name_is_refused_and_left_alone),
        scratch_test(of_many_creators_one_wins),
        scratch_test(after_a_failure_nothing_is_left),
        scratch_test(a_failing_qemu_img_leaves_nothing),
        scratch_test(images_are_imported_from_other_formats),
        scratch_test(images_that_name_other_files_are_refused),
        scratch_test(a_full_datastore_is_told_before_anything_is_made),
        scratch_test(only_files_of_the_folder_are_opened),
        scratch_test(removal_does_not_follow_links),
        scratch_test(an_endless_definition_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
