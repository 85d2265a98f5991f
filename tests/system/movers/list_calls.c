/*
 * Prints what sandbox_calls.h lets a mover do, a line of JSON a rule, with numbers in place of
 * names: what tests/system/test_mover_calls.py compares traces with.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mover/sandbox_calls.h"

static void print_conditions(const struct sandbox_rule *rule)
{
    const char *separator = "";
    for (unsigned i = 0; i < SANDBOX_CONDITIONS_MOST && rule->only[i].mask; i++) {
        const struct sandbox_condition *only = &rule->only[i];
        printf("%s[%u, %" PRIu64 ", %" PRIu64 "]", separator, only->argument, only->mask,
               only->value);
        separator = ", ";
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof(sandbox_rules) / sizeof(sandbox_rules[0]); i++) {
        const struct sandbox_rule *rule = &sandbox_rules[i];
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rule->call);
        printf("{\"call\": \"%s\", \"source\": %s, \"destination\": %s, \"sample\": %s, "
               "\"seldom\": %s, \"conditions\": [",
               name, rule->roles & SANDBOX_SOURCE ? "true" : "false",
               rule->roles & SANDBOX_DESTINATION ? "true" : "false",
               rule->roles & SANDBOX_SAMPLE ? "true" : "false", rule->seldom ? "true" : "false");
        print_conditions(rule);
        puts("]}");
        free(name);
    }
    return 0;
}
