/*
 * Names of things that are being made or removed on a datastore: ".web1.new-PID-START-RANDOM@NODE".
 * The name says whose they are, so that what a crash left can be told from what is still in work,
 * and no other host's is ever touched.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define TEMPORARY_NAME_SIZE 256

/* A new name for `base`, unlike any other. */
void temporary_name(char name[TEMPORARY_NAME_SIZE], const char *base);

/* Whether `name` is such a name, made on this host by a process that runs no more. */
bool temporary_is_abandoned(const char *name);
