/* Authorities and folders of credentials: see tls_fixture.h. */
#include "tls_fixture.h"

#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"
#include "base/tls_revocation.h"
#include "test.h"

static int64_t from_now(int64_t seconds)
{
    return (int64_t)time(NULL) + seconds;
}

void tls_fixture_authority_make(struct tls_fixture_authority *authority)
{
    struct error err = ERROR_NONE;
    assert_int_equal(tls_key_make(&authority->key, &err), 0);
    assert_int_equal(tls_authority_make(authority->key, "test", from_now(-100 * TLS_FIXTURE_HOUR),
                                        from_now(100 * TLS_FIXTURE_HOUR), &authority->certificate,
                                        &err),
                     0);
}

void tls_fixture_authority_done(struct tls_fixture_authority *authority)
{
    X509_free(authority->certificate);
    EVP_PKEY_free(authority->key);
}

static void write_text(const char *folder, const char *name, const char *suffix, char *text)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/%s%s", folder, name, suffix);
    CLEANUP_FREE char *owned = text;
    assert_non_null(owned);
    assert_int_equal(file_write_atomic(path, owned, strlen(owned), 0644, &err), 0);
}

static X509 *own_certificate(const char *folder)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/host.crt", folder);
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_CHAIN STACK_OF(X509) *found = NULL;
    assert_int_equal(file_read(path, 65536, &content, &err), 0);
    assert_int_equal(tls_certificates_read((char *)content.data, path, &found, &err), 0);
    return sk_X509_shift(found);
}

void tls_fixture_revoke(const char *folder, const struct tls_fixture_authority *authority,
                        const char *revoked)
{
    struct error err = ERROR_NONE;
    char serial[TLS_SERIAL_SIZE] = "";
    char *pem;
    CLEANUP_CERTIFICATE X509 *certificate = revoked ? own_certificate(revoked) : NULL;
    if (certificate) {
        tls_certificate_serial(certificate, serial);
    }
    const struct tls_revoked entry = {serial, from_now(-1)};
    const struct tls_revocations list = {
        .issuer = authority->certificate,
        .issuer_key = authority->key,
        .revoked = &entry,
        .count = revoked ? 1 : 0,
        .number = 1,
        .from = from_now(-100 * TLS_FIXTURE_HOUR),
        .until = from_now(100 * TLS_FIXTURE_HOUR),
    };
    assert_int_equal(tls_revocations_make(&list, &pem, &err), 0);
    write_text(folder, "ca", ".crl", pem);
}

static void write_own(const char *folder, const struct tls_fixture_subject *subject)
{
    struct error err = ERROR_NONE;
    struct tls_identity identity;
    CLEANUP_KEY EVP_PKEY *key = NULL;
    CLEANUP_CERTIFICATE X509 *certificate = NULL;
    CLEANUP_FREE char *path = file_path("%s/%s.key", folder, tls_role_words[subject->role]);
    assert_int_equal(tls_key_make(&key, &err), 0);
    assert_int_equal(tls_key_write(path, key, &err), 0);
    assert_int_equal(tls_identity_make(subject->role, subject->name, NULL, 0, &identity, &err), 0);
    const struct tls_issue issue = {
        .identity = &identity,
        .public_key = key,
        .issuer = subject->authority->certificate,
        .issuer_key = subject->authority->key,
        .not_before = from_now(subject->from),
        .not_after = from_now(subject->until),
    };
    assert_int_equal(tls_certificate_make(&issue, &certificate, &err), 0);
    write_text(folder, tls_role_words[subject->role], ".crt", tls_certificate_write(certificate));
}

void tls_fixture_folder_make(const char *folder, const struct tls_fixture_subject *subject,
                             const struct tls_fixture_authority *trusted, const char *revoked)
{
    struct error err = ERROR_NONE;
    assert_int_equal(file_make_folders(folder, 0700, &err), 0);
    write_own(folder, subject);
    write_text(folder, "ca", ".crt", tls_certificate_write(trusted->certificate));
    tls_fixture_revoke(folder, trusted, revoked);
}
