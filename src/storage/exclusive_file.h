/*
 * Files whose creation decides something: whoever creates one first has won, and it appears with
 * its content or not at all.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

/* Creates `name` in the open folder with `value` as its content: a finished, synced temporary file
 * is given the name with link(2), which is atomic on NFS too. Durable on return. `what` names the
 * file in errors. -EEXIST when the name is taken. After any other failure the file may or may not
 * be there: look. */
int exclusive_file_create(int folder, const char *name, const json_t *value, const char *what,
                          struct error *err);

/* The same for a file of `size` zero bytes of which `prepare` makes what it should be, by its path,
 * which is `folder_path` and a temporary name, before it gets its own. */
typedef int exclusive_file_prepare(void *context, const char *path, struct error *err);
int exclusive_file_create_prepared(int folder, const char *folder_path, const char *name,
                                   size_t size, exclusive_file_prepare *prepare, void *context,
                                   struct error *err);
