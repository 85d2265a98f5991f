/*
 * What the rows of checks.h share: the list they write into (CHECK objects of docs/api.md), and
 * facts read as a peer may have sent them: whatever is missing or of another type is NULL.
 */
#pragma once

#include <jansson.h>

#include "agent/move/checks.h"

enum check_level { CHECK_OK, CHECK_WARN, CHECK_BLOCK };

/* Appends a finding about `what` ("memory"); `remedy` may be empty. */
void check_add(json_t *list, enum check_level level, const char *what, const char *remedy,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Appends that the host does not tell `fact`, which blocks. */
void check_block_untold(json_t *list, const char *what, const json_t *host, const char *fact);

/* Blocks a move to the host where the VM is: by name, or because a peer's address leads back. */
void check_destination_is_another(const struct checks_move *move, json_t *list);

/* Borrowed text at `key`, or of the host's capabilities; NULL when there is none. */
const char *check_text(const json_t *object, const char *key);
const char *check_capability(const json_t *host, const char *key);

/* For messages: never NULL. */
const char *check_host_name(const json_t *host);
