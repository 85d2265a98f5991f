/*
 * libFuzzer's entry: the agent's own documents, which survive it and may be cut off or spoilt:
 * configuration, journals of VMs and moves, the guard's instructions; and what peers answer. The
 * first byte chooses.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/move/checks.h"
#include "agent/move/forecast.h"
#include "agent/move/migration_paths.h"
#include "agent/move/populate.h"
#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "guard/instructions.h"
#include "harness.h"

#define UUID "00000000-0000-4000-8000-000000000001"
#define MEMORY_SIZE ((uint64_t)64 << 20)

static void try_config(const json_t *document)
{
    CLEANUP_FREE struct agent_config *config = NULL;
    struct error err = ERROR_NONE;
    harness_check_refusal(config_from_json(document, "configuration", &config, &err), &err);
}

static void try_instructions(const json_t *document)
{
    struct instructions instructions;
    struct error err = ERROR_NONE;
    harness_check_refusal(instructions_from_json(document, "instructions", &instructions, &err),
                          &err);
}

/* The destination's answer to a reservation. */
static void try_place(const json_t *document)
{
    static const struct migration_local locals[] = {{"192.0.2.1", 24}, {"2001:db8::1", 64}};
    static struct mover_setup setup;
    struct error err = ERROR_NONE;
    harness_check_refusal(migration_paths(locals, 2, document, &setup, &err), &err);
}

/* What a source says of where its VM has memory. */
static void try_populated(const json_t *document)
{
    struct populate *populate = NULL;
    struct error err = ERROR_NONE;
    const json_t *description = json_object_get(document, "populated");
    harness_check_refusal(populate_new(description, MEMORY_SIZE, &populate, &err), &err);
    populate_free(populate);
}

static void try_checks(const json_t *document)
{
    static const struct vm_config config = {
        .name = "vm", .uuid = UUID, .machine = "pc", .cpu = "max", .vcpus = 2, .memory_mib = 64};
    struct error err = ERROR_NONE;
    struct checks_move move = {.config = &config,
                               .vm_state = "running",
                               .accelerator = "tcg",
                               .datastore_uuid = UUID,
                               .source = json_object_get(document, "source"),
                               .destination = json_object_get(document, "destination"),
                               .destination_vms = json_object_get(document, "vms")};
    CLEANUP_JSON json_t *source = checks_of_source(&move);
    CLEANUP_JSON json_t *destination = checks_of_destination(&move);
    harness_check_refusal(checks_to_error(source, &err), &err);
    err = ERROR_NONE;
    harness_check_refusal(checks_to_error(destination, &err), &err);
    err = ERROR_NONE;
    const json_t *checks = json_object_get(document, "checks"); /* a peer's own */
    checks_verdict(checks);
    checks_to_error(checks, &err);
}

static void try_migration(const json_t *document)
{
    struct migrate_options options;
    bool dry_run;
    struct error err = ERROR_NONE;
    harness_check_refusal(migrate_options_from_json(document, &options, &dry_run, &err), &err);
}

/* Journals are read from their files: the same bytes as one of the VM's and of the move's. */
static void try_journals(const uint8_t *bytes, size_t length)
{
    static struct agent_config config;
    static struct vm vm;
    struct move_record move;
    struct error err = ERROR_NONE;
    if (!config.run_folder[0]) {
        char path[256];
        snprintf(config.run_folder, sizeof(config.run_folder), "%s", harness_folder());
        snprintf(path, sizeof(path), "%s/vms/" UUID, harness_folder());
        file_make_folders(path, 0755, NULL);
    }
    harness_write("vms/" UUID "/state.json", bytes, length);
    harness_check_refusal(record_load(&config, UUID, &vm, &err), &err);
    harness_write("vms/" UUID "/move.json", bytes, length);
    err = ERROR_NONE;
    harness_check_refusal(record_load_move(&config, UUID, &move, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static void (*const functions[])(const json_t *document) = {
        try_config, try_instructions, try_place, try_populated, try_checks, try_migration};
    size_t count = sizeof(functions) / sizeof(functions[0]);
    if (length == 0) {
        return 0;
    }
    size_t choice = bytes[0] % (count + 1);
    if (choice == count) {
        try_journals(bytes + 1, length - 1);
        return 0;
    }
    CLEANUP_JSON json_t *document =
        json_parse((const char *)bytes + 1, length - 1, "document", NULL);
    if (document) {
        functions[choice](document);
    }
    return 0;
}
