/*
 * The source's side of a move, shared by its files: migrate_source.c begins one, source_end.c
 * follows it to its end.
 */
#pragma once

#include <jansson.h>

#include "agent/agent.h"
#include "agent/move/migrate_options.h"
#include "agent/task.h"
#include "agent/vm/record.h"
#include "engine/source.h"

/* What the task's thread works on. */
struct source_move {
    struct agent *agent;
    struct task *task;
    struct vm vm;
    struct move_record record;
    char to[VM_NAME_SIZE];
    struct migrate_options options;
    char token[2 * ENGINE_TOKEN_SIZE + 1]; /* hexadecimal */
    json_t *forecast;                      /* owned; NULL: none was made */
    bool resumed;                          /* an earlier agent began it */
};

/* Follows the mover to the end of the move, whatever that is, and sees to it. 0: it has moved. */
int source_move_follow(struct source_move *move, struct error *err);

/* Of a move whose mover could not be started: the VM stays, the guest runs. `err` says why.
 * Returns -err->code. */
int source_move_undo(struct source_move *move, struct error *err);

/* Nothing is left here of a move that never had a mover: asks the destination to remove what it
 * made; it does so by itself when it is not reached. */
void source_move_discard(const struct source_move *move);

/* What the user reads: what has become of the VM, why, and what to do. */
void source_move_explain(const struct source_move *move, struct error *err);
