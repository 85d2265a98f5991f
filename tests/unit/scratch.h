/* A folder of its own for each test, removed afterwards: setup and teardown for cmocka. */
#pragma once

#include <unistd.h>

#include "base/file.h"

static inline int scratch_make(void **state)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/drover-unit-XXXXXX");
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static inline int scratch_remove(void **state)
{
    return file_remove_tree(*state, NULL);
}

/* Replaces what `name` in the scratch folder holds. */
static inline void scratch_write(void **state, const char *name, const char *text)
{
    char path[512];
    struct error err = ERROR_NONE;
    snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &err), 0);
}

#define scratch_test(function) \
    cmocka_unit_test_setup_teardown(function, scratch_make, scratch_remove)
