/* Join tokens as text: see join_token.h. */
#include "ca/join_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "base/choice.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define TOKEN_VERSION 1
#define TOKEN_TEXT_MOST 1024

/* ---- base64url (RFC 4648, 5), without padding ---- */

static char *encode(const char *text)
{
    size_t length = strlen(text);
    char *encoded = malloc(length * 4 / 3 + 8);
    if (!encoded) {
        return NULL;
    }
    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)text, (int)length);
    encoded[strcspn(encoded, "=")] = '\0';
    for (char *at = encoded; *at; at++) {
        *at = (char)(*at == '+' ? '-' : *at == '/' ? '_' : *at);
    }
    return encoded;
}

/* Into a buffer of TOKEN_TEXT_MOST; the length, or -1. */
static int decode(const char *text, size_t length, unsigned char *decoded)
{
    char padded[TOKEN_TEXT_MOST + 4];
    size_t padding = (4 - length % 4) % 4;
    for (size_t i = 0; i < length; i++) {
        padded[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    }
    memset(padded + length, '=', padding);
    int got = EVP_DecodeBlock(decoded, (unsigned char *)padded, (int)(length + padding));
    OPENSSL_cleanse(padded, sizeof(padded));
    return got < 0 ? -1 : got - (int)padding;
}

/* ---- the token ---- */

char *join_token_write(const struct join_token *token)
{
    CLEANUP_JSON json_t *value =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:s}", "drover_join", TOKEN_VERSION, "role",
                  tls_role_words[token->role], "name", token->name, "server", token->server,
                  "authority", token->fingerprint, "secret", token->secret);
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    char *encoded = text ? encode(text) : NULL;
    if (text) {
        OPENSSL_cleanse(text, strlen(text));
    }
    free(text);
    return encoded;
}

static bool copy_name(const json_t *value, const char *key, char name[TLS_NAME_SIZE])
{
    const char *text = json_string_value(json_object_get(value, key));
    if (!text || !file_name_is_safe(text)) {
        return false;
    }
    strcpy(name, text);
    return true;
}

static bool copy_digits(const json_t *value, const char *key, char *digits, size_t size)
{
    const char *text = json_string_value(json_object_get(value, key));
    if (!text || strlen(text) != size - 1 || strspn(text, "0123456789abcdef") != size - 1) {
        return false;
    }
    strcpy(digits, text);
    return true;
}

static bool read_value(const json_t *value, struct join_token *token)
{
    const char *word = json_string_value(json_object_get(value, "role"));
    int role = word ? choice_find(tls_role_words, word) : -1;
    token->role = role > 0 ? TLS_ROLE_OPERATOR : TLS_ROLE_HOST;
    return role >= 0 &&
           json_integer_value(json_object_get(value, "drover_join")) == TOKEN_VERSION &&
           copy_name(value, "name", token->name) && copy_name(value, "server", token->server) &&
           copy_digits(value, "authority", token->fingerprint, sizeof(token->fingerprint)) &&
           copy_digits(value, "secret", token->secret, sizeof(token->secret));
}

int join_token_read(const char *text, struct join_token *ret_token, struct error *err)
{
    unsigned char decoded[TOKEN_TEXT_MOST + 4];
    struct join_token token = {0};
    size_t length = strcspn(text, " \t\r\n");
    bool alone = strspn(text + length, " \t\r\n") == strlen(text + length);
    int got = alone && length < TOKEN_TEXT_MOST ? decode(text, length, decoded) : -1;
    CLEANUP_JSON json_t *value =
        got > 0 ? json_loadb((const char *)decoded, (size_t)got, JSON_REJECT_DUPLICATES, NULL)
                : NULL;
    OPENSSL_cleanse(decoded, sizeof(decoded));
    if (!value || !read_value(value, &token)) {
        error_set(err, EINVAL, "this is no join token");
        return error_remedy(err, "make one with \"drover ca token NAME\" and take it whole");
    }
    *ret_token = token;
    return 0;
}
