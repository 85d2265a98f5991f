/* What two agents agree on: see encryption.h. */
#include "agent/encryption.h"

#include <errno.h>
#include <string.h>

#include "base/hex.h"
#include "base/json.h"
#include "base/random.h"

#define KEY_DIGITS (2 * SECURE_KEY_SIZE)

static const char tls13[] = "tls13";
static const char none[] = "none";

const char *const encryption_policies[] = {
    [ENCRYPTION_REQUIRED] = "required",
    [ENCRYPTION_OPPORTUNISTIC] = "opportunistic",
    [ENCRYPTION_DISABLED] = "disabled",
    NULL,
};

int encryption_policy_of(const json_t *facts, enum encryption_policy *ret_policy, struct error *err)
{
    int policy;
    int result = json_get_choice_or(facts, "the host's facts", "migration_encryption",
                                    encryption_policies, ENCRYPTION_DISABLED, &policy, err);
    if (result == 0) {
        *ret_policy = (enum encryption_policy)policy;
    }
    return result;
}

int encryption_agree(enum encryption_policy here, enum encryption_policy there)
{
    bool required = here == ENCRYPTION_REQUIRED || there == ENCRYPTION_REQUIRED;
    bool disabled = here == ENCRYPTION_DISABLED || there == ENCRYPTION_DISABLED;
    if (required && disabled) {
        return -ENOTSUP;
    }
    return !disabled;
}

int encryption_offer(enum encryption_policy policy, json_t *request, struct mover_setup *setup,
                     struct error *err)
{
    char text[KEY_DIGITS + 1];
    if (policy == ENCRYPTION_DISABLED) {
        return 0;
    }
    random_bytes(setup->key, sizeof(setup->key));
    hex_encode(setup->key, sizeof(setup->key), text);
    int result = json_object_set_new(request, "key", json_string(text));
    explicit_bzero(text, sizeof(text));
    return result < 0 ? error_set_errno(err, ENOMEM, "cannot offer a key") : 0;
}

int encryption_settle(enum encryption_policy policy, const json_t *answer,
                      struct mover_setup *setup, struct error *err)
{
    static const char *const answers[] = {none, tls13, NULL};
    int encrypted;
    int result =
        json_get_choice_or(answer, "the answer", "encryption", answers, 0, &encrypted, err);
    if (result < 0) {
        return result;
    }
    if (encrypted ? policy == ENCRYPTION_DISABLED : policy == ENCRYPTION_REQUIRED) {
        return error_set(err, EPROTO,
                         "it answers that the move's channels %s, against what was agreed",
                         encrypted ? "are encrypted" : "are not encrypted");
    }
    setup->encrypted = encrypted;
    if (!encrypted) {
        encryption_forget(setup);
    }
    return 0;
}

static int read_key(const json_t *request, struct mover_setup *setup, struct error *err)
{
    const char *text;
    int result = json_get_string(request, "the offer", "key", &text, err);
    if (result == 0 && !hex_decode(text, setup->key, sizeof(setup->key))) {
        result =
            error_set(err, EINVAL, "the offer's key must be %d hexadecimal digits", KEY_DIGITS);
    }
    return result;
}

int encryption_take(enum encryption_policy policy, const json_t *request, struct mover_setup *setup,
                    struct error *err)
{
    enum encryption_policy theirs;
    int result = encryption_policy_of(json_object_get(request, "source"), &theirs, err);
    if (result < 0) {
        return result;
    }
    result = encryption_agree(policy, theirs);
    if (result < 0) { /* the checks have said it with more words */
        return error_set(err, ENOTSUP, "one host requires encryption, the other has it disabled");
    }
    setup->encrypted = result;
    return setup->encrypted ? read_key(request, setup, err) : 0;
}

void encryption_answer(const struct mover_setup *setup, json_t *answer)
{
    json_object_set_new(answer, "encryption", json_string(setup->encrypted ? tls13 : none));
}

void encryption_forget(struct mover_setup *setup)
{
    explicit_bzero(setup->key, sizeof(setup->key));
}
