/* What two agents agree on, and the key on its way from one to the other. */
#include "test.h"

#include "agent/encryption.h"
#include "base/json.h"

static void one_refusal_and_one_demand_do_not_agree(void **state)
{
    static const struct {
        enum encryption_policy here, there;
        int agreed;
    } cases[] = {
        {ENCRYPTION_REQUIRED, ENCRYPTION_REQUIRED, 1},
        {ENCRYPTION_REQUIRED, ENCRYPTION_OPPORTUNISTIC, 1},
        {ENCRYPTION_REQUIRED, ENCRYPTION_DISABLED, -ENOTSUP},
        {ENCRYPTION_OPPORTUNISTIC, ENCRYPTION_OPPORTUNISTIC, 1},
        {ENCRYPTION_OPPORTUNISTIC, ENCRYPTION_DISABLED, 0},
        {ENCRYPTION_DISABLED, ENCRYPTION_DISABLED, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(encryption_agree(cases[i].here, cases[i].there), cases[i].agreed);
        assert_int_equal(encryption_agree(cases[i].there, cases[i].here), cases[i].agreed);
    }
}

static json_t *request_of(enum encryption_policy policy)
{
    return json_pack("{s:{s:s}}", "source", "migration_encryption", encryption_policies[policy]);
}

/* Offered by a host of policy `here`, taken and answered by one of policy `there`. */
static int exchange(enum encryption_policy here, enum encryption_policy there,
                    struct mover_setup *source, struct mover_setup *destination)
{
    CLEANUP_JSON json_t *request = request_of(here);
    CLEANUP_JSON json_t *answer = json_object();
    assert_int_equal(encryption_offer(here, request, source, NULL), 0);
    int result = encryption_take(there, request, destination, NULL);
    if (result < 0) {
        return result;
    }
    encryption_answer(destination, answer);
    return encryption_settle(here, answer, source, NULL);
}

static void both_movers_get_one_key(void **state)
{
    struct mover_setup source = {0}, destination = {0}, another = {0};
    (void)state;
    assert_int_equal(exchange(ENCRYPTION_REQUIRED, ENCRYPTION_REQUIRED, &source, &destination), 0);
    assert_true(source.encrypted && destination.encrypted);
    assert_memory_equal(source.key, destination.key, SECURE_KEY_SIZE);
    assert_int_equal(exchange(ENCRYPTION_REQUIRED, ENCRYPTION_REQUIRED, &another, &destination), 0);
    assert_memory_not_equal(another.key, source.key, SECURE_KEY_SIZE); /* of its move alone */
    encryption_forget(&source);
    assert_memory_equal(source.key, (uint8_t[SECURE_KEY_SIZE]){0}, SECURE_KEY_SIZE);
}

static void without_encryption_there_is_no_key(void **state)
{
    struct mover_setup source = {0}, destination = {0};
    (void)state;
    assert_int_equal(exchange(ENCRYPTION_OPPORTUNISTIC, ENCRYPTION_DISABLED, &source, &destination),
                     0);
    assert_false(source.encrypted || destination.encrypted);
    assert_memory_equal(source.key, (uint8_t[SECURE_KEY_SIZE]){0}, SECURE_KEY_SIZE);
    assert_memory_equal(destination.key, (uint8_t[SECURE_KEY_SIZE]){0}, SECURE_KEY_SIZE);
    assert_int_equal(exchange(ENCRYPTION_DISABLED, ENCRYPTION_REQUIRED, &source, &destination),
                     -ENOTSUP);
}

static int take(const char *key, struct error *err)
{
    struct mover_setup setup = {0};
    CLEANUP_JSON json_t *request = request_of(ENCRYPTION_REQUIRED);
    if (key) {
        json_object_set_new(request, "key", json_string(key));
    }
    return encryption_take(ENCRYPTION_REQUIRED, request, &setup, err);
}

static void a_key_that_is_none_is_refused(void **state)
{
    struct error err = ERROR_NONE;
    (void)state;
    assert_int_equal(take(NULL, &err), -EINVAL);
    assert_int_equal(take("abc", &err), -EINVAL);
    assert_null(strstr(err.message, "abc"));
    assert_int_equal(take("zz00000000000000000000000000000000000000000000000000000000000000", &err),
                     -EINVAL);
}

static int settle(enum encryption_policy policy, const char *text)
{
    struct mover_setup setup = {0};
    CLEANUP_JSON json_t *answer = text ? json_pack("{s:s}", "encryption", text) : json_object();
    return encryption_settle(policy, answer, &setup, NULL);
}

/* A destination that answers against what was agreed. */
static void an_answer_cannot_talk_a_host_out_of_its_policy(void **state)
{
    (void)state;
    assert_int_equal(settle(ENCRYPTION_REQUIRED, "none"), -EPROTO);
    assert_int_equal(settle(ENCRYPTION_REQUIRED, NULL), -EPROTO);
    assert_int_equal(settle(ENCRYPTION_DISABLED, "tls13"), -EPROTO);
    assert_int_equal(settle(ENCRYPTION_REQUIRED, "rot13"), -EINVAL);
    assert_int_equal(settle(ENCRYPTION_OPPORTUNISTIC, "none"), 0);
    assert_int_equal(settle(ENCRYPTION_DISABLED, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_refusal_and_one_demand_do_not_agree),
        cmocka_unit_test(both_movers_get_one_key),
        cmocka_unit_test(without_encryption_there_is_no_key),
        cmocka_unit_test(a_key_that_is_none_is_refused),
        cmocka_unit_test(an_answer_cannot_talk_a_host_out_of_its_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
