/* A small machine in a folder of its own, for tests that start QEMU: setup and teardown for cmocka.
 */
#pragma once

#include "vmm/qemu/machine.h"

#define BENCH_USER 65534

struct bench {
    char folder[32];
    char ram[64];
    char log[64];
    int disk;
    struct qemu_disk disks[1];
    struct qemu_machine machine;
};

int bench_set_up(void **state);
int bench_tear_down(void **state);
#define ON_BENCH(function) cmocka_unit_test_setup_teardown(function, bench_set_up, bench_tear_down)

/* What the machine's monitor says: "running", "paused", "inmigrate". */
void bench_assert_status(const struct bench *bench, const char *wanted);
