/* A join token is one word; what is none is refused without a trace of it. */
#include "test.h"

#include "ca/join_token.h"

static void fill(struct join_token *token)
{
    *token = (struct join_token){.role = TLS_ROLE_OPERATOR, .name = "alice", .server = "h1"};
    memset(token->fingerprint, 'a', sizeof(token->fingerprint) - 1);
    memset(token->secret, '7', sizeof(token->secret) - 1);
}

static void a_token_comes_back_as_it_was(void **state)
{
    struct error err = ERROR_NONE;
    struct join_token token;
    struct join_token back;
    char line[2048];
    (void)state;
    for (size_t length = 1; length < 8; length++) { /* each length of padding */
        fill(&token);
        memset(token.name, '\0', sizeof(token.name));
        memset(token.name, 'n', length);
        char *text = join_token_write(&token);
        assert_non_null(text);
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789-_"),
                         strlen(text));
        snprintf(line, sizeof(line), "%s\n", text);
        free(text);
        assert_int_equal(join_token_read(line, &back, &err), 0);
        assert_memory_equal(&back, &token, sizeof(token));
    }
}

static void what_is_no_token_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "\n", "secret", "e30", "!!!!", "bnVsbA", "eyJkcm92ZXJfam9pbiI6MX0",
    };
    char longest[4096];
    struct join_token token;
    (void)state;
    memset(longest, 'A', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    for (size_t i = 0; i <= sizeof(texts) / sizeof(texts[0]); i++) {
        struct error err = ERROR_NONE;
        const char *text = i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : longest;
        assert_int_equal(join_token_read(text, &token, &err), -EINVAL);
        assert_null(strstr(err.message, "secret"));
    }
}

static void every_character_counts(void **state)
{
    struct join_token token;
    struct join_token back;
    (void)state;
    fill(&token);
    char *text = join_token_write(&token);
    for (size_t i = 0; text[i]; i++) {
        struct error err = ERROR_NONE;
        char kept = text[i];
        text[i] = '*';
        assert_int_equal(join_token_read(text, &back, &err), -EINVAL);
        text[i] = '\0';
        assert_int_equal(join_token_read(text, &back, &err), -EINVAL);
        text[i] = kept;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(every_character_counts),
    };
    return cmocka_run_group_tests_name("ca-join_token", tests, NULL, NULL);
}
