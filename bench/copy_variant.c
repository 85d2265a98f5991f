/* The text of a variant: see copy_variant.h. */
#include "copy_variant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define MEBIBYTE ((uint64_t)1024 * 1024)

static const char *const senders[] = {
    [COPY_SENDFILE] = "sendfile", [COPY_SEND] = "send",         [COPY_ZEROCOPY] = "zerocopy",
    [COPY_SPLICE] = "splice",     [COPY_VMSPLICE] = "vmsplice", NULL,
};
static const char *const receivers[] = {
    [COPY_DISCARD] = "discard",
    [COPY_MAPPING] = "mapping",
    [COPY_PWRITE] = "pwrite",
    [COPY_SPLICE_WRITE] = "splice",
    NULL,
};
static const char *const populates[] = {
    [COPY_MADVISE] = "madvise",
    [COPY_FALLOCATE] = "fallocate",
    [COPY_TOUCH] = "touch",
    NULL,
};

static int name_index(const char *const *names, const char *name, struct error *err)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return error_set(err, EINVAL, "\"%s\" is no way to do it", name);
}

static uint64_t *amount_field(struct copy_variant *variant, const char *key)
{
    const struct {
        const char *name;
        uint64_t *field;
    } fields[] = {
        {"connections", &variant->connections},
        {"stripe", &variant->stripe},
        {"buffer", &variant->buffer},
        {"ahead", &variant->ahead},
        {"helpers", &variant->helpers},
        {"step", &variant->step},
        {"sndbuf", &variant->sndbuf},
        {"rcvbuf", &variant->rcvbuf},
        {"lowat", &variant->lowat},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, key) == 0) {
            return fields[i].field;
        }
    }
    return NULL;
}

/* "key=value", or "waitall". */
static int parse_setting(struct copy_variant *variant, char *setting, struct error *err)
{
    char *value = strchr(setting, '=');
    if (!value) {
        variant->waitall = strcmp(setting, "waitall") == 0;
        return variant->waitall ? 0 : error_set(err, EINVAL, "what is \"%s\"?", setting);
    }
    *value++ = '\0';
    uint64_t *amount = amount_field(variant, setting);
    if (amount) {
        return units_parse_size(value, amount, err);
    }
    if (strcmp(setting, "congestion") == 0) {
        snprintf(variant->congestion, sizeof(variant->congestion), "%s", value);
        return 0;
    }
    int index;
    if (strcmp(setting, "send") == 0) {
        variant->sender = (enum copy_sender)(index = name_index(senders, value, err));
    } else if (strcmp(setting, "receive") == 0) {
        variant->receiver = (enum copy_receiver)(index = name_index(receivers, value, err));
    } else if (strcmp(setting, "populate") == 0) {
        variant->populate = (enum copy_populate)(index = name_index(populates, value, err));
    } else {
        return error_set(err, EINVAL, "there is no setting \"%s\"", setting);
    }
    return index < 0 ? index : 0;
}

static int check(const struct copy_variant *variant, struct error *err)
{
    if (variant->connections == 0 || variant->connections > COPY_CONNECTIONS_MOST ||
        variant->helpers == 0 || variant->helpers > COPY_CONNECTIONS_MOST) {
        return error_set(err, EINVAL, "connections and helpers are 1 to %d", COPY_CONNECTIONS_MOST);
    }
    if (variant->stripe == 0 || variant->buffer == 0 || variant->step == 0) {
        return error_set(err, EINVAL, "stripe, buffer and step cannot be 0");
    }
    return 0;
}

int copy_variant_parse(const char *text, struct copy_variant *ret_variant, struct error *err)
{
    struct copy_variant variant = {.receiver = COPY_MAPPING,
                                   .connections = 1,
                                   .stripe = 2 * MEBIBYTE,
                                   .buffer = MEBIBYTE / 4,
                                   .helpers = 1,
                                   .step = 2 * MEBIBYTE};
    CLEANUP_FREE char *copy = strdup(text);
    char *rest = NULL;
    if (!copy) {
        return error_set_errno(err, ENOMEM, "cannot read a variant");
    }
    for (char *setting = strtok_r(copy, ",", &rest); setting;
         setting = strtok_r(NULL, ",", &rest)) {
        if (parse_setting(&variant, setting, err) < 0) {
            return error_wrap(err, "variant \"%s\"", text);
        }
    }
    int result = check(&variant, err);
    if (result == 0) {
        *ret_variant = variant;
    }
    return result;
}

uint64_t copy_variant_next_stripe(const struct copy_variant *variant, uint64_t bytes,
                                  uint64_t *position, uint64_t *ret_offset)
{
    if (*position >= bytes) {
        return 0;
    }
    *ret_offset = *position;
    *position += variant->stripe * variant->connections;
    uint64_t left = bytes - *ret_offset;
    return left < variant->stripe ? left : variant->stripe;
}
