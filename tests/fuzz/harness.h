/* What the fuzzers' harnesses share: see each fuzz_NAME.c for what it feeds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* libFuzzer's entry, which each harness defines. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What is refused must say why: aborts otherwise. */
void harness_check_refusal(int result, const struct error *err);

/* A connected socket from which all the bytes come, and then the end of the stream. What is written
 * to it goes to *ret_peer, which takes some 200 KiB. */
int harness_connect(const uint8_t *bytes, size_t length, int *ret_peer);

/* An anonymous file with these bytes, at its beginning. */
int harness_file(const uint8_t *bytes, size_t length);

/* A folder on a tmpfs for this process, made once and removed at its end. */
const char *harness_folder(void);

/* Puts the bytes into a file below that folder, whose own folder exists. */
void harness_write(const char *name, const uint8_t *bytes, size_t length);
