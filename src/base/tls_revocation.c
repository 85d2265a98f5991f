/* Lists of revoked certificates: see tls_revocation.h. */
#include "base/tls_revocation.h"

#include <openssl/pem.h>
#include <stdbool.h>

#include "base/tls_openssl.h"

static bool add_revoked(X509_CRL *list, const struct tls_revoked *revoked)
{
    BIGNUM *number = NULL;
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *serial =
        BN_hex2bn(&number, revoked->serial) ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)revoked->at);
    bool added = entry && serial && at && X509_REVOKED_set_serialNumber(entry, serial) &&
                 X509_REVOKED_set_revocationDate(entry, at) && X509_CRL_add0_revoked(list, entry);
    if (!added) {
        X509_REVOKED_free(entry);
    }
    ASN1_TIME_free(at);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    return added;
}

static bool set_number(X509_CRL *list, uint64_t number)
{
    ASN1_INTEGER *value = ASN1_INTEGER_new();
    bool set = value && ASN1_INTEGER_set_uint64(value, number) &&
               X509_CRL_add1_ext_i2d(list, NID_crl_number, value, 0, 0) == 1;
    ASN1_INTEGER_free(value);
    return set;
}

/* Which of the issuer's keys signed it: two authorities of one name are told apart by this. */
static bool set_issuer_key(X509_CRL *list, X509 *issuer)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, NULL, NULL, list, 0);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
    bool set = extension && X509_CRL_add_ext(list, extension, -1);
    X509_EXTENSION_free(extension);
    return set;
}

static bool set_times(X509_CRL *list, int64_t from, int64_t until)
{
    ASN1_TIME *begins = ASN1_TIME_set(NULL, (time_t)from);
    ASN1_TIME *ends = ASN1_TIME_set(NULL, (time_t)until);
    bool set = begins && ends && X509_CRL_set1_lastUpdate(list, begins) &&
               X509_CRL_set1_nextUpdate(list, ends);
    ASN1_TIME_free(begins);
    ASN1_TIME_free(ends);
    return set;
}

static bool fill_list(X509_CRL *list, const struct tls_revocations *revocations)
{
    bool good = X509_CRL_set_version(list, X509_CRL_VERSION_2) &&
                X509_CRL_set_issuer_name(list, X509_get_subject_name(revocations->issuer)) &&
                set_times(list, revocations->from, revocations->until);
    for (size_t i = 0; good && i < revocations->count; i++) {
        good = add_revoked(list, &revocations->revoked[i]);
    }
    return good && set_issuer_key(list, revocations->issuer) &&
           set_number(list, revocations->number) && X509_CRL_sort(list) &&
           X509_CRL_sign(list, revocations->issuer_key, EVP_sha256());
}

int tls_revocations_make(const struct tls_revocations *revocations, char **ret_pem,
                         struct error *err)
{
    CLEANUP_REVOCATIONS X509_CRL *list = X509_CRL_new();
    CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    if (list && bio && fill_list(list, revocations) && PEM_write_bio_X509_CRL(bio, list)) {
        pem = tls_text_of(bio);
    }
    if (!pem) {
        return tls_error_set(err, EIO, "cannot make the list of revoked certificates");
    }
    *ret_pem = pem;
    return 0;
}
