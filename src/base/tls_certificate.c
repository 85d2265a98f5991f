/* Certificates: see tls_certificate.h. */
#include "base/tls_certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/tls_openssl.h"

#define SERIAL_BYTES 16
#define OPERATOR_PREFIX "drover:operator:"
#define CERTIFICATES_MOST 64

const char *const tls_role_words[] = {"host", "operator", NULL};

/* ---- who ---- */

static bool is_address(const char *text)
{
    unsigned char ignored[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, ignored) == 1 || inet_pton(AF_INET6, text, ignored) == 1;
}

int tls_identity_make(enum tls_role role, const char *name, const char *const *addresses,
                      size_t address_count, struct tls_identity *ret_identity, struct error *err)
{
    struct tls_identity identity = {.role = role, .address_count = address_count};
    if (!file_name_is_safe(name) || is_address(name)) {
        return error_set(err, EINVAL, "\"%.64s\" cannot be the name of a%s %s", name,
                         role == TLS_ROLE_OPERATOR ? "n" : "", tls_role_words[role]);
    }
    strcpy(identity.name, name);
    if (address_count > (role == TLS_ROLE_HOST ? TLS_ADDRESSES_MOST : 0)) {
        return error_set(err, EINVAL, "%s %s cannot have %zu addresses", tls_role_words[role], name,
                         address_count);
    }
    for (size_t i = 0; i < address_count; i++) {
        if (!is_address(addresses[i])) {
            return error_set(err, EINVAL, "\"%.64s\" is not a numeric IPv4 or IPv6 address",
                             addresses[i]);
        }
        snprintf(identity.addresses[i], TLS_ADDRESS_SIZE, "%s", addresses[i]);
    }
    *ret_identity = identity;
    return 0;
}

int tls_identity_from_json(const json_t *object, const char *what,
                           struct tls_identity *ret_identity, struct error *err)
{
    const char *name;
    const char *addresses[TLS_ADDRESSES_MOST];
    int role;
    json_t *list;
    int result = json_get_string(object, what, "name", &name, err);
    if (result == 0) {
        result =
            json_get_choice_or(object, what, "role", tls_role_words, TLS_ROLE_HOST, &role, err);
    }
    if (result == 0) {
        result = json_get_array_or_empty(object, what, "addresses", &list, err);
    }
    if (result < 0) {
        return result;
    }
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count && i < TLS_ADDRESSES_MOST; i++) {
        const char *address = json_string_value(json_array_get(list, i));
        addresses[i] = address ? address : "";
    }
    return tls_identity_make((enum tls_role)role, name, addresses, count, ret_identity, err);
}

/* ---- making ---- */

/* The highest bit clear, so that the number is positive, and one set, so that it is long. */
static bool set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    random_bytes(bytes, sizeof(bytes));
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return set;
}

static bool set_subject(X509 *certificate, const char *unit, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"Drover",
                                      -1, -1, 0) &&
           X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_ASC, (const unsigned char *)unit, -1,
                                      -1, 0) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                      -1, 0);
}

struct extension {
    int nid;
    const char *value; /* in the words of x509v3_config(5) */
};

static bool add_extensions(X509 *certificate, X509 *issuer, const struct extension *extensions,
                           size_t count)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, &context, extensions[i].nid, extensions[i].value);
        bool added = extension && X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
        if (!added) {
            return false;
        }
    }
    return true;
}

/* All but names and extensions. */
static bool begin_certificate(X509 *certificate, X509 *issuer, EVP_PKEY *key, int64_t not_before,
                              int64_t not_after)
{
    return X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) &&
           ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)not_before) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)not_after) &&
           X509_set_pubkey(certificate, key);
}

int tls_authority_make(EVP_PKEY *key, const char *name, int64_t not_before, int64_t not_after,
                       X509 **ret_certificate, struct error *err)
{
    static const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
    };
    CLEANUP_CERTIFICATE X509 *certificate = X509_new();
    if (!certificate || !set_subject(certificate, "authority", name) ||
        !begin_certificate(certificate, certificate, key, not_before, not_after) ||
        !add_extensions(certificate, certificate, extensions,
                        sizeof(extensions) / sizeof(extensions[0])) ||
        !X509_sign(certificate, key, EVP_sha256())) {
        return tls_error_set(err, EIO, "cannot make the certificate of the authority %s", name);
    }
    *ret_certificate = steal_pointer(&certificate);
    return 0;
}

/* Names and addresses have been checked: nothing in them means anything to OpenSSL's syntax. */
static int format_names(const struct tls_identity *identity, struct buffer *text)
{
    int result = identity->role == TLS_ROLE_HOST
                     ? buffer_append_format(text, "DNS:%s", identity->name)
                     : buffer_append_format(text, "URI:" OPERATOR_PREFIX "%s", identity->name);
    for (size_t i = 0; result == 0 && i < identity->address_count; i++) {
        result = buffer_append_format(text, ",IP:%s", identity->addresses[i]);
    }
    return result < 0 ? result : buffer_append(text, "", 1);
}

int tls_certificate_make(const struct tls_issue *issue, X509 **ret_certificate, struct error *err)
{
    const struct tls_identity *identity = issue->identity;
    CLEANUP_BUFFER struct buffer names = {0};
    CLEANUP_CERTIFICATE X509 *certificate = X509_new();
    if (!certificate || format_names(identity, &names) < 0) {
        return error_set_errno(err, ENOMEM, "cannot make a certificate");
    }
    const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage,
         identity->role == TLS_ROLE_HOST ? "serverAuth,clientAuth" : "clientAuth"},
        {NID_subject_alt_name, (const char *)names.data},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid:always"},
    };
    if (!set_subject(certificate, tls_role_words[identity->role], identity->name) ||
        !begin_certificate(certificate, issue->issuer, issue->public_key, issue->not_before,
                           issue->not_after) ||
        !add_extensions(certificate, issue->issuer, extensions,
                        sizeof(extensions) / sizeof(extensions[0])) ||
        !X509_sign(certificate, issue->issuer_key, EVP_sha256())) {
        return tls_error_set(err, EIO, "cannot make a certificate for %s %s",
                             tls_role_words[identity->role], identity->name);
    }
    *ret_certificate = steal_pointer(&certificate);
    return 0;
}

/* ---- reading ---- */

/* A string of a certificate, without a zero byte in it. */
static bool copy_text(const ASN1_IA5STRING *string, const char *prefix, char *text, size_t size)
{
    size_t length = (size_t)ASN1_STRING_length(string);
    const char *bytes = (const char *)ASN1_STRING_get0_data(string);
    size_t skip = strlen(prefix);
    if (length < skip || length - skip >= size || memchr(bytes, '\0', length) ||
        memcmp(bytes, prefix, skip) != 0) {
        return false;
    }
    memcpy(text, bytes + skip, length - skip);
    text[length - skip] = '\0';
    return file_name_is_safe(text);
}

static bool copy_address(const ASN1_OCTET_STRING *string, struct tls_identity *identity)
{
    int length = ASN1_STRING_length(string);
    int family = length == 4 ? AF_INET : AF_INET6;
    return (length == 4 || length == 16) && identity->address_count < TLS_ADDRESSES_MOST &&
           inet_ntop(family, ASN1_STRING_get0_data(string),
                     identity->addresses[identity->address_count++], TLS_ADDRESS_SIZE);
}

/* Takes one name in; false for one that no certificate of ours has. */
static bool take_name(const GENERAL_NAME *name, struct tls_identity *identity)
{
    if (name->type == GEN_IPADD) {
        return copy_address(name->d.iPAddress, identity);
    }
    if (identity->name[0]) {
        return false;
    }
    if (name->type == GEN_DNS) {
        identity->role = TLS_ROLE_HOST;
        return copy_text(name->d.dNSName, "", identity->name, sizeof(identity->name));
    }
    identity->role = TLS_ROLE_OPERATOR;
    return name->type == GEN_URI && copy_text(name->d.uniformResourceIdentifier, OPERATOR_PREFIX,
                                              identity->name, sizeof(identity->name));
}

int tls_certificate_identity(const X509 *certificate, struct tls_identity *ret_identity,
                             struct error *err)
{
    struct tls_identity identity = {0};
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool good = names != NULL;
    for (int i = 0; good && i < sk_GENERAL_NAME_num(names); i++) {
        good = take_name(sk_GENERAL_NAME_value(names, i), &identity);
    }
    GENERAL_NAMES_free(names);
    if (!good || !identity.name[0]) {
        return error_set(err, EINVAL,
                         "the certificate names neither one host nor one operator of Drover's");
    }
    *ret_identity = identity;
    return 0;
}

static void format_hexadecimal(const unsigned char *bytes, size_t length, char *text)
{
    for (size_t i = 0; i < length; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}

void tls_certificate_fingerprint(const X509 *certificate, char text[TLS_FINGERPRINT_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    text[0] = '\0';
    if (X509_digest(certificate, EVP_sha256(), digest, &length)) {
        format_hexadecimal(digest, length, text);
    }
}

void tls_certificate_serial(const X509 *certificate, char text[TLS_SERIAL_SIZE])
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    size_t length = (size_t)ASN1_STRING_length(serial);
    text[0] = '\0';
    if (length <= (TLS_SERIAL_SIZE - 1) / 2) {
        format_hexadecimal(ASN1_STRING_get0_data(serial), length, text);
    }
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) ? (int64_t)timegm(&parts) : 0;
}

void tls_certificate_times(const X509 *certificate, int64_t *ret_not_before, int64_t *ret_not_after)
{
    *ret_not_before = seconds_of(X509_get0_notBefore(certificate));
    *ret_not_after = seconds_of(X509_get0_notAfter(certificate));
}

/* ---- PEM ---- */

char *tls_certificates_write(STACK_OF(X509) * certificates)
{
    CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    for (int i = 0; bio && i < sk_X509_num(certificates); i++) {
        if (!PEM_write_bio_X509(bio, sk_X509_value(certificates, i))) {
            return NULL;
        }
    }
    return bio ? tls_text_of(bio) : NULL;
}

char *tls_certificate_write(X509 *certificate)
{
    CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    return bio && PEM_write_bio_X509(bio, certificate) ? tls_text_of(bio) : NULL;
}

int tls_certificates_read(const char *pem, const char *what, STACK_OF(X509) * *ret_certificates,
                          struct error *err)
{
    CLEANUP_BIO BIO *bio = BIO_new_mem_buf(pem, -1);
    CLEANUP_CHAIN STACK_OF(X509) *certificates = sk_X509_new_null();
    X509 *certificate;
    if (!bio || !certificates) {
        return error_set_errno(err, ENOMEM, "cannot read %s", what);
    }
    while (sk_X509_num(certificates) < CERTIFICATES_MOST &&
           (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (!sk_X509_push(certificates, certificate)) {
            X509_free(certificate);
            return error_set_errno(err, ENOMEM, "cannot read %s", what);
        }
    }
    unsigned long last = ERR_peek_last_error();
    bool ended = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    if (sk_X509_num(certificates) == 0 || !ended) {
        return tls_error_set(err, EINVAL, "%s holds no certificates, or broken ones", what);
    }
    ERR_clear_error();
    *ret_certificates = steal_pointer(&certificates);
    return 0;
}
