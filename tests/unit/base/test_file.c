/* Files: bounds hold, replacement is atomic, no path escapes. */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "scratch.h"

static char *in_scratch(void **state, const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
    return path;
}

static void run(const char *format, void **state)
{
    char command[512];
    snprintf(command, sizeof(command), format, (const char *)*state);
    assert_int_equal(system(command), 0);
}

static void reading_is_bounded(void **state)
{
    struct error err = ERROR_NONE;
    CLEANUP_BUFFER struct buffer content = {0};
    scratch_write(state, "f", "12345");
    assert_int_equal(file_read(in_scratch(state, "f"), 5, &content, &err), 0);
    assert_int_equal(content.length, 5);
    assert_string_equal((char *)content.data, "12345");
    CLEANUP_BUFFER struct buffer other = {0};
    assert_int_equal(file_read(in_scratch(state, "f"), 4, &other, &err), -EFBIG);
    assert_null(other.data);
    assert_int_equal(file_read("/dev/zero", 1 << 20, &other, &err), -EFBIG);
    assert_int_equal(file_read(in_scratch(state, "none"), 4, &other, &err), -ENOENT);
    assert_int_equal(file_read(*state, 4, &other, &err), -EISDIR);
    assert_non_null(strstr(err.message, *state));
}

static void an_empty_file_is_an_empty_text(void **state)
{
    struct error err = ERROR_NONE;
    CLEANUP_BUFFER struct buffer content = {0};
    scratch_write(state, "f", "");
    assert_int_equal(file_read(in_scratch(state, "f"), 0, &content, &err), 0);
    assert_string_equal((char *)content.data, "");
}

static void a_replaced_file_is_whole_at_every_moment(void **state)
{
    char texts[2][4096];
    struct error err = ERROR_NONE;
    memset(texts[0], 'a', sizeof(texts[0]));
    memset(texts[1], 'b', sizeof(texts[1]));
    char *path = in_scratch(state, "f");
    assert_int_equal(file_write_atomic(path, texts[0], sizeof(texts[0]), 0640, &err), 0);
    pid_t writer = fork();
    if (writer == 0) {
        for (int i = 0;; i++) {
            file_write_atomic(path, texts[i % 2], sizeof(texts[0]), 0640, NULL);
        }
    }
    for (int i = 0; i < 500; i++) {
        CLEANUP_BUFFER struct buffer content = {0};
        assert_int_equal(file_read(path, 10000, &content, &err), 0);
        assert_int_equal(content.length, sizeof(texts[0]));
        assert_memory_equal(content.data, texts[content.data[0] == 'b'], sizeof(texts[0]));
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
}

static void a_failed_write_leaves_nothing(void **state)
{
    struct error err = ERROR_NONE;
    assert_int_equal(mkdir(in_scratch(state, "folder"), 0700), 0);
    assert_true(file_write_atomic(in_scratch(state, "folder"), "x", 1, 0600, &err) < 0);
    assert_true(file_write_atomic(in_scratch(state, "no/f"), "x", 1, 0600, &err) == -ENOENT);
    run("test \"$(ls -A %s)\" = folder", state);
}

static void folders_are_made(void **state)
{
    struct error err = ERROR_NONE;
    struct stat status;
    assert_int_equal(file_make_folders(in_scratch(state, "a/b//c/"), 0700, &err), 0);
    assert_int_equal(file_make_folders(in_scratch(state, "a/b/c"), 0700, &err), 0);
    assert_int_equal(stat(in_scratch(state, "a/b/c"), &status), 0);
    assert_int_equal(file_make_folders("/", 0700, &err), 0);
    assert_true(file_make_folders("", 0700, &err) < 0);
    scratch_write(state, "a/file", "x");
    assert_int_equal(file_make_folders(in_scratch(state, "a/file"), 0700, &err), -ENOTDIR);
    assert_int_equal(file_make_folders(in_scratch(state, "a/file/b"), 0700, &err), -ENOTDIR);
}

static void a_tree_goes_and_links_are_not_followed(void **state)
{
    struct error err = ERROR_NONE;
    run("cd %s && mkdir -p kept tree/a/b/c && touch kept/file tree/a/b/c/f tree/.hidden &&"
        " ln -s ../kept tree/link && ln -s ../kept/file tree/a/link && mkfifo tree/pipe &&"
        " ln -s kept link && (cd tree; for i in $(seq 300); do touch $i; mkdir d$i; done)",
        state);
    assert_int_equal(file_remove_tree(in_scratch(state, "tree"), &err), 0);
    assert_int_equal(file_remove_tree(in_scratch(state, "link"), &err), 0);
    assert_int_equal(file_remove_tree(in_scratch(state, "missing"), &err), 0);
    run("cd %s && test \"$(ls -A)\" = kept && test -e kept/file", state);
}

static void a_tree_that_cannot_go_says_so(void **state)
{
    struct error err = ERROR_NONE;
    run("mkdir -p %s/tree/mounted", state);
    run("mount -t tmpfs none %s/tree/mounted", state);
    int result = file_remove_tree(in_scratch(state, "tree"), &err);
    run("umount %s/tree/mounted", state);
    assert_int_equal(result, -EBUSY);
    assert_non_null(strstr(err.message, "tree"));
}

static void no_path_escapes(void **state)
{
    struct error err = ERROR_NONE;
    run("cd %s && mkdir -p root/in outside && touch outside/f root/f root/in/f &&"
        " ln -s ../outside root/out && ln -s /etc root/etc && ln -s f root/alias &&"
        " ln -s ../f root/in/up",
        state);
    static const char *const escapes[] = {"../outside/f",   "in/../../outside/f",
                                          "/etc/passwd",    "out/f",
                                          "etc/passwd",     "alias",
                                          "in/up",          "..",
                                          "in/../../root/f"};
    CLEANUP_FREE char *root = strdup(in_scratch(state, "root"));
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        int result = file_open_beneath(root, escapes[i], O_RDONLY, 0, &err);
        if (result != -EXDEV && result != -ELOOP) {
            fail_msg("%s gives %d", escapes[i], result);
        }
        assert_true(file_open_beneath(root, escapes[i], O_WRONLY | O_CREAT, 0600, &err) < 0);
    }
    assert_true(file_open_beneath(root, "out/new", O_WRONLY | O_CREAT, 0600, &err) < 0);
    CLEANUP_CLOSE int inner = file_open_beneath(root, "in/f", O_RDONLY, 0, &err);
    CLEANUP_CLOSE int made = file_open_beneath(root, "in/new", O_WRONLY | O_CREAT, 0600, &err);
    assert_true(inner >= 0 && made >= 0);
    assert_int_equal(fcntl(inner, F_GETFD), FD_CLOEXEC);
    run("test \"$(ls %s/outside)\" = f", state);
}

static void names_are_single_plain_components(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "web1", "Web_1.x-2", "0", "_"};
    static const char *const bad[] = {
        "",         ".",
        "..",       ".a",
        "-a",       "a/b",
        "a b",      "a\n",
        "\xc3\xa4", "a\\b",
        "a:b",      "a%",
        "a*",       "a234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(file_name_is_safe(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(file_name_is_safe(bad[i]));
    }
}

static void only_data_is_opened_for_copying(void **state)
{
    struct error err = ERROR_NONE;
    run("mkfifo %s/pipe", state);
    scratch_write(state, "f", "x");
    assert_int_equal(file_open_data("f", &err), -EINVAL);
    assert_int_equal(file_open_data(in_scratch(state, "pipe"), &err), -EINVAL);
    assert_int_equal(file_open_data("/dev/null", &err), -EINVAL);
    assert_int_equal(file_open_data(*state, &err), -EINVAL);
    CLEANUP_CLOSE int fd = file_open_data(in_scratch(state, "f"), &err);
    assert_true(fd >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(reading_is_bounded),
        scratch_test(an_empty_file_is_an_empty_text),
        scratch_test(a_replaced_file_is_whole_at_every_moment),
        scratch_test(a_failed_write_leaves_nothing),
        scratch_test(folders_are_made),
        scratch_test(a_tree_goes_and_links_are_not_followed),
        scratch_test(a_tree_that_cannot_go_says_so),
        scratch_test(no_path_escapes),
        cmocka_unit_test(names_are_single_plain_components),
        scratch_test(only_data_is_opened_for_copying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
