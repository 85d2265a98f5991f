/* Which engine moves a VM: see engine_choice.h. */
#include "agent/move/engine_choice.h"

#include <stdio.h>
#include <string.h>

#include "agent/move/check_list.h"

/* Why Drover's engine cannot move the VM; empty: it can. False: the host does not tell. */
static bool find_obstacle(const struct checks_move *move, char *obstacle, size_t size)
{
    const char *engine = check_capability(move->source, "engine");
    const char *reason = check_capability(move->source, "engine_reason");
    obstacle[0] = '\0';
    if (!engine) {
        return false;
    }
    if (strcmp(engine, "drover") != 0) {
        snprintf(obstacle, size, "%s", reason && *reason ? reason : "the host gives no reason");
    } else if (move->vm_obstacle) {
        snprintf(obstacle, size, "%s", move->vm_obstacle);
    }
    return true;
}

void engine_choose(const struct checks_move *move, struct engine_choice *ret_choice)
{
    struct engine_choice choice = {.which = ENGINE_CHOICE_DROVER};
    bool told = find_obstacle(move, choice.obstacle, sizeof(choice.obstacle));
    bool wanted = move->engine == MIGRATE_ENGINE_NATIVE;
    bool untracked = choice.obstacle[0] != '\0';
    choice.loses_writes = (wanted || untracked) && strcmp(move->accelerator, "kvm") != 0;
    if (!told) {
        choice.which = ENGINE_CHOICE_UNTOLD;
    } else if (wanted) {
        choice.which = ENGINE_CHOICE_NATIVE;
    } else if (untracked) {
        bool allowed = move->engine == MIGRATE_ENGINE_AUTO && !choice.loses_writes;
        choice.which = allowed ? ENGINE_CHOICE_NATIVE : ENGINE_CHOICE_NONE;
        choice.by_itself = allowed;
    }
    *ret_choice = choice;
}

static void check_native(const struct checks_move *move, const struct engine_choice *choice,
                         json_t *list)
{
    const char *name = move->config->name;
    if (choice->loses_writes) {
        check_add(
            list, CHECK_WARN, "engine", "use Drover's engine: --engine drover",
            "QEMU's own migration loses writes of a guest that runs without KVM: %s may crash "
            "or compute wrongly after it",
            name);
    } else if (choice->by_itself) {
        check_add(list, CHECK_WARN, "engine",
                  "start the VM anew on a host with Linux 6.7 or later, for a faster move",
                  "QEMU's own migration moves %s, since Drover's engine cannot: %s", name,
                  choice->obstacle);
    } else {
        check_add(list, CHECK_OK, "engine", "", "QEMU's own migration moves %s, as asked", name);
    }
}

static void refuse(const struct checks_move *move, const struct engine_choice *choice, json_t *list)
{
    const char *name = move->config->name;
    if (move->engine == MIGRATE_ENGINE_DROVER) {
        check_add(list, CHECK_BLOCK, "engine",
                  "start the VM anew on a host with Linux 6.7 or later; or, if it runs with KVM, "
                  "allow QEMU's own migration: --engine auto",
                  "Drover's engine cannot move %s from %s: %s", name, check_host_name(move->source),
                  choice->obstacle);
        return;
    }
    check_add(
        list, CHECK_BLOCK, "engine",
        "start the VM anew on a host with Linux 6.7 or later, or one that has KVM",
        "Drover's engine cannot move %s from %s: %s; and QEMU's own migration loses writes of "
        "a guest that runs without KVM",
        name, check_host_name(move->source), choice->obstacle);
}

void engine_choice_check(const struct checks_move *move, json_t *list)
{
    struct engine_choice choice;
    engine_choose(move, &choice);
    switch (choice.which) {
    case ENGINE_CHOICE_DROVER:
        check_add(list, CHECK_OK, "engine", "", "Drover's engine moves %s", move->config->name);
        break;
    case ENGINE_CHOICE_NATIVE:
        check_native(move, &choice, list);
        break;
    case ENGINE_CHOICE_NONE:
        refuse(move, &choice, list);
        break;
    case ENGINE_CHOICE_UNTOLD:
        check_block_untold(list, "engine", move->source, "which migration engine it has");
        break;
    }
}
