/* A new authority takes over from the old one: see authority.h for the steps. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "ca/authority_internal.h"

const char *const authority_stage_words[] = {"single", "announced", "switched", NULL};

/* The older authority is the first of the two. */
enum authority_stage authority_stage(const struct authority *authority)
{
    if (authority->trusted_count < 2) {
        return AUTHORITY_SINGLE;
    }
    return authority->signer == 0 ? AUTHORITY_ANNOUNCED : AUTHORITY_SWITCHED;
}

static int announce(struct authority *authority, struct error *err)
{
    int64_t number = authority->trusted[0].number + 1;
    int result = authority_make_pair(authority->folder, number, &authority->trusted[1], err);
    if (result < 0) {
        return result;
    }
    authority->trusted_count = 2;
    result = authority_change_trust(authority, err);
    if (result < 0) {
        authority_remove_pair(authority->folder, number);
    }
    return result;
}

static int switch_over(struct authority *authority, struct error *err)
{
    authority->signer = 1;
    return authority_change_trust(authority, err);
}

static bool is_issued_by(const json_t *entry, const struct authority_pair *pair)
{
    return json_integer_value(json_object_get(entry, "issuer")) == pair->number;
}

/* Whether who has this certificate has one of the new authority, too. */
static bool has_newer(const struct authority *authority, const json_t *old, int64_t now)
{
    size_t index;
    const json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        if (is_issued_by(entry, &authority->trusted[1]) && authority_entry_is_good(entry, now) &&
            json_equal(json_object_get(entry, "role"), json_object_get(old, "role")) &&
            json_equal(json_object_get(entry, "name"), json_object_get(old, "name"))) {
            return true;
        }
    }
    return false;
}

static int refuse_while_used(const struct authority *authority, struct error *err)
{
    int64_t now = authority_now();
    size_t index;
    const json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        if (is_issued_by(entry, &authority->trusted[0]) && authority_entry_is_good(entry, now) &&
            !has_newer(authority, entry, now)) {
            error_set(err, EBUSY, "%s %s still has a certificate of the old authority",
                      json_string_value(json_object_get(entry, "role")),
                      json_string_value(json_object_get(entry, "name")));
            return error_remedy(err, "renew it (drover ca renew, on that host), or revoke it");
        }
    }
    return 0;
}

static int forget_old(struct authority *authority, struct error *err)
{
    struct authority_pair old = authority->trusted[0];
    int result = refuse_while_used(authority, err);
    if (result < 0) {
        return result;
    }
    authority->trusted[0] = authority->trusted[1];
    authority->trusted[1] = (struct authority_pair){0};
    authority->trusted_count = 1;
    authority->signer = 0;
    result = authority_change_trust(authority, err);
    if (result == 0) {
        authority_remove_pair(authority->folder, old.number);
    }
    authority_pair_done(&old);
    return result;
}

int authority_advance(struct authority *authority, enum authority_stage *ret_stage,
                      struct error *err)
{
    static int (*const steps[])(struct authority *, struct error *) = {
        [AUTHORITY_SINGLE] = announce,
        [AUTHORITY_ANNOUNCED] = switch_over,
        [AUTHORITY_SWITCHED] = forget_old,
    };
    int result = steps[authority_stage(authority)](authority, err);
    if (result == 0) {
        *ret_stage = authority_stage(authority);
    }
    return result;
}
