/* The API's calls: which handler answers which. `context` of each handler is the agent. */
#pragma once

#include "agent/agent.h"
#include "base/uuid.h"
#include "http/request.h"

extern const struct route agent_routes[];
extern const size_t agent_route_count;

/* routes_lease.c */
int get_leases(void *context, const struct request *request, struct response *ret_response,
               struct error *err);

/* routes_host.c */
int get_host(void *context, const struct request *request, struct response *ret_response,
             struct error *err);
int get_tasks(void *context, const struct request *request, struct response *ret_response,
              struct error *err);
int get_task(void *context, const struct request *request, struct response *ret_response,
             struct error *err);
int cancel_task(void *context, const struct request *request, struct response *ret_response,
                struct error *err);

/* routes_vm.c */

/* Answers {key: [to_json() of every VM]}; a VM for which that gives NULL is left out. */
int answer_vms(struct agent *agent, const char *key,
               json_t *(*to_json)(struct agent *agent, const struct vm *vm),
               struct response *ret_response, struct error *err);

int get_vms(void *context, const struct request *request, struct response *ret_response,
            struct error *err);
int get_vm(void *context, const struct request *request, struct response *ret_response,
           struct error *err);
int create_vm(void *context, const struct request *request, struct response *ret_response,
              struct error *err);
int delete_vm(void *context, const struct request *request, struct response *ret_response,
              struct error *err);
int start_vm(void *context, const struct request *request, struct response *ret_response,
             struct error *err);
int stop_vm(void *context, const struct request *request, struct response *ret_response,
            struct error *err);
int migrate_vm(void *context, const struct request *request, struct response *ret_response,
               struct error *err);

/* Opens a VM's serial console for the HTTP server: a non-blocking socket. */
int open_vm_console(void *context, const char *name, char ret_uuid[UUID_TEXT_SIZE],
                    struct error *err);

/* routes_incoming.c */
int check_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err);
int begin_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err);
int get_incoming(void *context, const struct request *request, struct response *ret_response,
                 struct error *err);
int delete_incoming(void *context, const struct request *request, struct response *ret_response,
                    struct error *err);

/* routes_datastore.c */
int set_datastore_lease(void *context, const struct request *request, struct response *ret_response,
                        struct error *err);

/* routes_ca.c */
int join_ca(void *context, const struct request *request, struct response *ret_response,
            struct error *err);
int get_ca_trust(void *context, const struct request *request, struct response *ret_response,
                 struct error *err);
int renew_ca(void *context, const struct request *request, struct response *ret_response,
             struct error *err);
int get_ca_certificates(void *context, const struct request *request, struct response *ret_response,
                        struct error *err);
int make_ca_token(void *context, const struct request *request, struct response *ret_response,
                  struct error *err);
int revoke_ca(void *context, const struct request *request, struct response *ret_response,
              struct error *err);
int advance_ca(void *context, const struct request *request, struct response *ret_response,
               struct error *err);
int renew_tls(void *context, const struct request *request, struct response *ret_response,
              struct error *err);
int refresh_tls(void *context, const struct request *request, struct response *ret_response,
                struct error *err);
