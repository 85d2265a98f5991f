/*
 * What the QEMU on this host can do, asked of QEMU itself (a short-lived process with no machine),
 * once at the agent's start: the checks before a move compare both hosts' answers.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "vmm/qemu/machine.h"

/* New reference:
 * {"qemu_version": "7.2.22", "accelerator": "tcg"|"kvm", "kernel": "6.18...",
 *  "engine": "drover"|"native", "engine_reason": "" | why Drover's engine cannot run here,
 *  "machine_types": ["pc-q35-7.2", ...],
 *  "cpu_models": {"qemu64": [], "Nehalem": ["missing-feature", ...], ...}}
 * A CPU model maps to the features it wants and this host lacks: empty means that it runs here. */
int qemu_capabilities_probe(enum qemu_accelerator accelerator, json_t **ret_capabilities,
                            struct error *err);
