/*
 * What survives the agent: a folder for each VM with a process here, RUN_FOLDER/vms/UUID:
 *
 *   state.json   what the VM is and which process runs it   (root's)
 *   move.json    a move in progress                          (root's)
 *   mover.sock   the mover's control socket                  (root's)
 *   qemu/        QEMU's sockets and serial log               (the VM's user's, 0700)
 *
 * and its memory, RUN_FOLDER/ram/UUID. What QEMU may write to is never believed.
 */
#pragma once

#include <stdbool.h>

#include "agent/config.h"
#include "agent/vm/inventory.h"
#include "base/error.h"

enum record_role { RECORD_SOURCE, RECORD_DESTINATION };

/* A move as the agent remembers it. */
struct move_record {
    enum record_role role;
    char move_id[UUID_TEXT_SIZE];
    char peer[VM_NAME_SIZE];       /* the other host */
    uint64_t epoch;                /* the source's: the commit creates the next */
    bool native;                   /* by QEMU's own migration */
    char engine_reason[256];       /* why, when nobody asked for that; empty: as asked */
    bool committing;               /* the source's: from here on the VM may be the peer's */
    struct process_identity mover; /* pid 0: not started yet */
};

/* Paths below the VM's folder; NULL without memory. */
char *record_path(const struct agent_config *config, const char *uuid, const char *file);
char *record_ram_path(const struct agent_config *config, const char *uuid);
char *record_log_path(const struct agent_config *config, const char *vm_name, const char *what);

/* Makes the run folder, its parts and the tmpfs for memory, and the folders for logs. */
int record_prepare(const struct agent_config *config, struct error *err);

/* Makes sure that no other agent uses the run folder; holds until this process ends. -EBUSY. */
int record_lock(const struct agent_config *config, struct error *err);

/* Makes the VM's folder, with qemu/ for its user. */
int record_make_folder(const struct agent_config *config, const struct vm *vm, struct error *err);

/* Removes the VM's folder and its memory. */
int record_remove(const struct agent_config *config, const char *uuid, struct error *err);

int record_save(const struct agent_config *config, const struct vm *vm, struct error *err);
int record_load(const struct agent_config *config, const char *uuid, struct vm *ret_vm,
                struct error *err);

int record_save_move(const struct agent_config *config, const char *uuid,
                     const struct move_record *move, struct error *err);
/* 1 and the move, 0 when there is none. */
int record_load_move(const struct agent_config *config, const char *uuid,
                     struct move_record *ret_move, struct error *err);
/* With the socket of its mover, whom nobody will ask any more. */
int record_remove_move(const struct agent_config *config, const char *uuid, struct error *err);
