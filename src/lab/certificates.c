/* A lab's certificates: see certificates.h. */
#include "lab/certificates.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/tls_folder.h"
#include "ca/authority.h"

static int identify(const struct lab_node *node, struct tls_identity *ret_identity,
                    struct error *err)
{
    char address[LAB_ADDRESS_SIZE];
    const char *addresses[] = {address};
    if (node->kind == LAB_NODE_CLIENT) {
        return tls_identity_make(TLS_ROLE_OPERATOR, LAB_OPERATOR, NULL, 0, ret_identity, err);
    }
    lab_node_address(node, LAB_NETWORK_MANAGEMENT, address);
    return tls_identity_make(TLS_ROLE_HOST, node->name, addresses, 1, ret_identity, err);
}

static int certify(const struct lab *lab, const struct lab_node *node, struct authority *authority,
                   struct error *err)
{
    char folder[LAB_PATH_SIZE];
    struct tls_identity identity;
    CLEANUP_FREE char *request = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    snprintf(folder, sizeof(folder), "%s/%s/%s/tls", lab->folder, node->name,
             node->kind == LAB_NODE_HOST ? "state" : "etc");
    int result = identify(node, &identity, err);
    if (result == 0) {
        result = tls_folder_request(folder, identity.role, &request, err);
    }
    if (result == 0) {
        result = authority_issue(authority, &identity, request, &answer, err);
    }
    if (result < 0) {
        return result;
    }
    const struct tls_grant grant = authority_answer_grant(&answer);
    return tls_folder_store(folder, identity.role, identity.name, &grant, err);
}

int certificates_make(const struct lab *lab, struct error *err)
{
    char folder[LAB_PATH_SIZE];
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    snprintf(folder, sizeof(folder), "%s/" LAB_AUTHORITY_HOST "/state/ca", lab->folder);
    int result = authority_init(folder, AUTHORITY_CERTIFICATE_LIFETIME_S, err);
    if (result == 0) {
        result = authority_open(folder, &authority, err);
    }
    for (size_t i = 0; result == 0 && i < lab->node_count; i++) {
        if (lab->nodes[i].kind != LAB_NODE_SWITCH) {
            result = certify(lab, &lab->nodes[i], authority, err);
        }
    }
    return result < 0 ? error_wrap(err, "cannot make certificates") : 0;
}
