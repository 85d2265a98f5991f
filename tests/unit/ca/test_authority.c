/* The authority: what it issues, to whom, once; what it revokes; how another one takes over. */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "ca/authority.h"
#include "scratch.h"

#define LIFETIME_S 3600

/* ---- a cluster in a scratch folder ---- */

static const char *below(void **state, const char *name)
{
    static char paths[16][128]; /* as many as a test needs at a time */
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof(paths[0]), "%s/%s", (const char *)*state, name);
    return path;
}

static struct authority *open_new(void **state)
{
    struct error err = ERROR_NONE;
    struct authority *authority;
    assert_int_equal(authority_init(below(state, "ca"), LIFETIME_S, &err), 0);
    assert_int_equal(authority_open(below(state, "ca"), &authority, &err), 0);
    return authority;
}

static struct tls_identity host(const char *name)
{
    struct error err = ERROR_NONE;
    static const char *const addresses[] = {"10.79.0.2"};
    struct tls_identity identity;
    assert_int_equal(tls_identity_make(TLS_ROLE_HOST, name, addresses, 1, &identity, &err), 0);
    return identity;
}

/* A host's folder, with a request made and answered. */
static int join(struct authority *authority, const char *folder, const char *name,
                struct error *err)
{
    char *request;
    struct authority_answer answer = {0};
    struct tls_identity identity = host(name);
    assert_int_equal(tls_folder_request(folder, TLS_ROLE_HOST, &request, err), 0);
    int result = authority_issue(authority, &identity, request, &answer, err);
    if (result == 0) {
        const struct tls_grant grant = authority_answer_grant(&answer);
        result = tls_folder_store(folder, TLS_ROLE_HOST, name, &grant, err);
    }
    authority_answer_done(&answer);
    free(request);
    return result;
}

static struct tls_credentials *load(const char *folder)
{
    struct error err = ERROR_NONE;
    struct tls_credentials *credentials = NULL;
    if (tls_folder_load(folder, TLS_ROLE_HOST, &credentials, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return credentials;
}

/* Takes what the authority says now about trust. */
static void refresh(const struct authority *authority, const char *folder)
{
    struct error err = ERROR_NONE;
    struct authority_answer answer;
    assert_int_equal(authority_trust(authority, &answer, &err), 0);
    const struct tls_grant grant = authority_answer_grant(&answer);
    if (tls_folder_store(folder, TLS_ROLE_HOST, NULL, &grant, &err) < 0) {
        fail_msg("%s", err.message);
    }
    authority_answer_done(&answer);
}

static int renew(struct authority *authority, const char *folder, const char *name,
                 struct error *err)
{
    char *request;
    struct authority_answer answer = {0};
    assert_int_equal(tls_folder_request(folder, TLS_ROLE_HOST, &request, err), 0);
    int result = authority_renew(authority, TLS_ROLE_HOST, name, request, &answer, err);
    if (result == 0) {
        const struct tls_grant grant = authority_answer_grant(&answer);
        result = tls_folder_store(folder, TLS_ROLE_HOST, name, &grant, err);
    }
    authority_answer_done(&answer);
    free(request);
    return result;
}

static bool accepts(const char *folder, const char *whose)
{
    struct tls_credentials *credentials = load(folder);
    struct tls_credentials *other = load(whose);
    bool accepted = tls_credentials_accept(credentials, tls_credentials_certificate(other));
    tls_credentials_unref(credentials);
    tls_credentials_unref(other);
    return accepted;
}

/* ---- tests ---- */

static void its_files_are_its_owners_alone(void **state)
{
    struct stat status;
    struct error err = ERROR_NONE;
    struct authority *authority = open_new(state);
    static const char *const secrets[] = {"ca/ca.json", "ca/authority-1.key"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(stat(below(state, secrets[i]), &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    assert_int_equal(stat(below(state, "ca"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(join(authority, below(state, "h1"), "h1", &err), 0);
    assert_int_equal(stat(below(state, "h1/host.key"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    authority_close(authority);
}

static void there_is_one(void **state)
{
    struct error err = ERROR_NONE;
    authority_close(open_new(state));
    assert_int_equal(authority_init(below(state, "ca"), LIFETIME_S, &err), -EEXIST);
    struct authority *authority;
    assert_int_equal(authority_open(below(state, "elsewhere"), &authority, &err), -ENOENT);
}

static void hosts_that_joined_accept_each_other(void **state)
{
    struct error err = ERROR_NONE;
    struct tls_identity identity;
    struct authority *authority = open_new(state);
    assert_int_equal(join(authority, below(state, "h1"), "h1", &err), 0);
    assert_int_equal(join(authority, below(state, "h2"), "h2", &err), 0);
    assert_true(accepts(below(state, "h1"), below(state, "h2")));
    struct tls_credentials *credentials = load(below(state, "h2"));
    assert_int_equal(
        tls_certificate_identity(tls_credentials_certificate(credentials), &identity, &err), 0);
    assert_string_equal(identity.name, "h2");
    assert_int_equal(identity.address_count, 1);
    assert_string_equal(identity.addresses[0], "10.79.0.2");
    tls_credentials_unref(credentials);
    authority_close(authority);
}

static void names_that_look_alike_are_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct authority *authority = open_new(state);
    assert_int_equal(join(authority, below(state, "h1"), "h1", &err), 0);
    assert_int_equal(join(authority, below(state, "H1"), "H1", &err), -EEXIST);
    authority_close(authority);
}

static void a_certificate_for_another_name_is_not_stored(void **state)
{
    struct error err = ERROR_NONE;
    char *request;
    struct authority_answer answer = {0};
    struct authority *authority = open_new(state);
    struct tls_identity identity = host("h3");
    const char *folder = below(state, "h2");
    assert_int_equal(tls_folder_request(folder, TLS_ROLE_HOST, &request, &err), 0);
    assert_int_equal(authority_issue(authority, &identity, request, &answer, &err), 0);
    const struct tls_grant grant = authority_answer_grant(&answer);
    assert_int_equal(tls_folder_store(folder, TLS_ROLE_HOST, "h2", &grant, &err), -EINVAL);
    assert_int_equal(access(below(state, "h2/host.crt"), F_OK), -1);
    authority_answer_done(&answer);
    free(request);
    authority_close(authority);
}

static int spend(struct authority *authority, const char *secret, const char *folder)
{
    struct error err = ERROR_NONE;
    char *request;
    struct tls_identity identity;
    struct authority_answer answer = {0};
    assert_int_equal(tls_folder_request(folder, TLS_ROLE_HOST, &request, &err), 0);
    int result = authority_join(authority, secret, request, &identity, &answer, &err);
    if (result == 0) {
        assert_string_equal(identity.name, "h2");
    }
    authority_answer_done(&answer);
    free(request);
    return result;
}

static void a_token_is_good_once_and_kept_as_a_hash(void **state)
{
    struct error err = ERROR_NONE;
    struct join_token token;
    struct tls_identity identity = host("h2");
    struct authority *authority = open_new(state);
    assert_int_equal(authority_make_token(authority, &identity, 600, &token, &err), 0);
    authority_close(authority);
    json_t *stored = json_read_file(below(state, "ca/ca.json"), 1 << 20, &err);
    char *text = json_dumps(stored, 0);
    assert_null(strstr(text, token.secret));
    free(text);
    json_decref(stored);
    assert_int_equal(authority_open(below(state, "ca"), &authority, &err), 0);
    assert_int_equal(spend(authority, "guess", below(state, "h2")), -EACCES);
    assert_int_equal(spend(authority, token.secret, below(state, "h2")), 0);
    assert_int_equal(spend(authority, token.secret, below(state, "h2")), -EACCES);
    authority_close(authority);
}

static void a_token_ends(void **state)
{
    struct error err = ERROR_NONE;
    struct join_token token;
    struct tls_identity identity = host("h2");
    struct authority *authority = open_new(state);
    assert_int_equal(authority_make_token(authority, &identity, 1, &token, &err), 0);
    sleep(3); /* whole seconds on both sides */
    assert_int_equal(spend(authority, token.secret, below(state, "h2")), -EACCES);
    assert_int_equal(authority_make_token(authority, &identity, 0, &token, &err), -EINVAL);
    authority_close(authority);
}

static void a_bad_request_does_not_spend_the_token(void **state)
{
    struct error err = ERROR_NONE;
    struct join_token token;
    struct tls_identity identity = host("h2");
    struct authority_answer answer = {0};
    struct authority *authority = open_new(state);
    assert_int_equal(authority_make_token(authority, &identity, 600, &token, &err), 0);
    assert_int_equal(
        authority_join(authority, token.secret, "no request", &identity, &answer, &err), -EINVAL);
    assert_int_equal(spend(authority, token.secret, below(state, "h2")), 0);
    authority_close(authority);
}

static void a_renewed_certificate_keeps_its_names_and_has_a_new_key(void **state)
{
    struct error err = ERROR_NONE;
    struct tls_identity identity;
    struct authority *authority = open_new(state);
    const char *folder = below(state, "h2");
    assert_int_equal(join(authority, folder, "h2", &err), 0);
    struct tls_credentials *before = load(folder);
    assert_int_equal(renew(authority, folder, "h2", &err), 0);
    struct tls_credentials *after = load(folder);
    X509 *certificate = tls_credentials_certificate(after);
    assert_int_equal(tls_certificate_identity(certificate, &identity, &err), 0);
    assert_string_equal(identity.name, "h2");
    assert_string_equal(identity.addresses[0], "10.79.0.2");
    assert_int_not_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate),
                                     X509_get0_pubkey(tls_credentials_certificate(before))),
                         1);
    assert_int_equal(renew(authority, folder, "h9", &err), -EACCES);
    tls_credentials_unref(before);
    tls_credentials_unref(after);
    authority_close(authority);
}

static void a_crash_between_certificate_and_key_is_made_good(void **state)
{
    struct error err = ERROR_NONE;
    struct authority *authority = open_new(state);
    const char *folder = below(state, "h2");
    assert_int_equal(join(authority, folder, "h2", &err), 0);
    assert_int_equal(link(below(state, "h2/host.key"), below(state, "old.key")), 0);
    assert_int_equal(renew(authority, folder, "h2", &err), 0);
    /* As after the crash: the new certificate, and its key still beside the old one. */
    assert_int_equal(rename(below(state, "h2/host.key"), below(state, "h2/host.key.next")), 0);
    assert_int_equal(rename(below(state, "old.key"), below(state, "h2/host.key")), 0);
    tls_credentials_unref(load(folder));
    assert_int_equal(access(below(state, "h2/host.key.next"), F_OK), -1);
    authority_close(authority);
}

static void a_crash_before_the_answer_changes_nothing(void **state)
{
    struct error err = ERROR_NONE;
    char *request;
    struct authority *authority = open_new(state);
    const char *folder = below(state, "h2");
    assert_int_equal(join(authority, folder, "h2", &err), 0);
    assert_int_equal(tls_folder_request(folder, TLS_ROLE_HOST, &request, &err), 0);
    free(request);
    tls_credentials_unref(load(folder));
    authority_close(authority);
}

static void who_is_revoked_is_refused_by_who_knows(void **state)
{
    struct error err = ERROR_NONE;
    size_t count;
    struct authority *authority = open_new(state);
    assert_int_equal(join(authority, below(state, "h1"), "h1", &err), 0);
    assert_int_equal(join(authority, below(state, "h2"), "h2", &err), 0);
    assert_int_equal(renew(authority, below(state, "h2"), "h2", &err), 0);
    assert_int_equal(authority_revoke(authority, TLS_ROLE_HOST, "h2", &count, &err), 0);
    assert_int_equal(count, 2);
    refresh(authority, below(state, "h1"));
    assert_false(accepts(below(state, "h1"), below(state, "h2")));
    assert_int_equal(renew(authority, below(state, "h2"), "h2", &err), -EACCES);
    assert_int_equal(authority_revoke(authority, TLS_ROLE_HOST, "h2", &count, &err), -ENOENT);
    assert_int_equal(authority_revoke(authority, TLS_ROLE_OPERATOR, "h1", &count, &err), -ENOENT);
    assert_int_equal(join(authority, below(state, "h2"), "h2", &err), 0);
    assert_true(accepts(below(state, "h1"), below(state, "h2")));
    authority_close(authority);
}

static void advance(struct authority *authority, enum authority_stage expected)
{
    struct error err = ERROR_NONE;
    enum authority_stage stage;
    assert_int_equal(authority_advance(authority, &stage, &err), 0);
    assert_int_equal(stage, expected);
}

static void a_new_authority_takes_over_without_a_gap(void **state)
{
    struct error err = ERROR_NONE;
    enum authority_stage stage;
    const char *const hosts[] = {"h1", "h2"};
    char folders[2][128];
    struct authority *authority = open_new(state);
    for (int i = 0; i < 2; i++) {
        snprintf(folders[i], sizeof(folders[i]), "%s/%s", (const char *)*state, hosts[i]);
        assert_int_equal(join(authority, folders[i], hosts[i], &err), 0);
    }
    advance(authority, AUTHORITY_ANNOUNCED);
    refresh(authority, folders[0]);
    assert_true(accepts(folders[0], folders[1]) && accepts(folders[1], folders[0]));
    refresh(authority, folders[1]);
    advance(authority, AUTHORITY_SWITCHED);
    assert_int_equal(renew(authority, folders[0], "h1", &err), 0);
    assert_true(accepts(folders[0], folders[1]) && accepts(folders[1], folders[0]));
    assert_int_equal(authority_advance(authority, &stage, &err), -EBUSY);
    assert_non_null(strstr(err.message, "h2"));
    assert_int_equal(renew(authority, folders[1], "h2", &err), 0);
    advance(authority, AUTHORITY_SINGLE);
    refresh(authority, folders[0]);
    assert_true(accepts(folders[0], folders[1]) && accepts(folders[1], folders[0]));
    authority_close(authority);
    assert_int_equal(access(below(state, "ca/authority-1.key"), F_OK), -1);
    assert_int_equal(authority_open(below(state, "ca"), &authority, &err), 0);
    authority_close(authority);
}

static void what_was_revoked_stays_so_through_a_rollover(void **state)
{
    struct error err = ERROR_NONE;
    size_t count;
    struct authority *authority = open_new(state);
    assert_int_equal(join(authority, below(state, "h1"), "h1", &err), 0);
    assert_int_equal(join(authority, below(state, "h2"), "h2", &err), 0);
    assert_int_equal(authority_revoke(authority, TLS_ROLE_HOST, "h2", &count, &err), 0);
    advance(authority, AUTHORITY_ANNOUNCED);
    advance(authority, AUTHORITY_SWITCHED);
    assert_int_equal(renew(authority, below(state, "h1"), "h1", &err), 0);
    assert_false(accepts(below(state, "h1"), below(state, "h2")));
    authority_close(authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(its_files_are_its_owners_alone),
        scratch_test(there_is_one),
        scratch_test(hosts_that_joined_accept_each_other),
        scratch_test(names_that_look_alike_are_refused),
        scratch_test(a_certificate_for_another_name_is_not_stored),
        scratch_test(a_token_is_good_once_and_kept_as_a_hash),
        scratch_test(a_token_ends),
        scratch_test(a_bad_request_does_not_spend_the_token),
        scratch_test(a_renewed_certificate_keeps_its_names_and_has_a_new_key),
        scratch_test(a_crash_between_certificate_and_key_is_made_good),
        scratch_test(a_crash_before_the_answer_changes_nothing),
        scratch_test(who_is_revoked_is_refused_by_who_knows),
        scratch_test(a_new_authority_takes_over_without_a_gap),
        scratch_test(what_was_revoked_stays_so_through_a_rollover),
    };
    return cmocka_run_group_tests_name("ca-authority", tests, NULL, NULL);
}
