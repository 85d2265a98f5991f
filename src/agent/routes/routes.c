/* The table of the API's calls, and who besides operators may make them; docs/openapi.yaml
 * describes them. */
#include "agent/routes/routes.h"

const struct route agent_routes[] = {
    {REQUEST_GET, "/v1/host", get_host, ACCESS_PEER},
    {REQUEST_POST, "/v1/datastores/{}/lease", set_datastore_lease},
    {REQUEST_GET, "/v1/vms", get_vms},
    {REQUEST_POST, "/v1/vms", create_vm},
    {REQUEST_GET, "/v1/vms/{}", get_vm},
    {REQUEST_DELETE, "/v1/vms/{}", delete_vm},
    {REQUEST_POST, "/v1/vms/{}/start", start_vm},
    {REQUEST_POST, "/v1/vms/{}/stop", stop_vm},
    {REQUEST_POST, "/v1/vms/{}/migrate", migrate_vm},
    {REQUEST_GET, "/v1/leases", get_leases},
    {REQUEST_GET, "/v1/tasks", get_tasks},
    {REQUEST_GET, "/v1/tasks/{}", get_task},
    {REQUEST_POST, "/v1/tasks/{}/cancel", cancel_task},
    {REQUEST_POST, "/v1/incoming/check", check_incoming, ACCESS_PEER},
    {REQUEST_POST, "/v1/incoming", begin_incoming, ACCESS_PEER},
    {REQUEST_GET, "/v1/incoming/{}", get_incoming, ACCESS_PEER},
    {REQUEST_DELETE, "/v1/incoming/{}", delete_incoming, ACCESS_PEER},
    {REQUEST_POST, "/v1/ca/join", join_ca, ACCESS_ANYONE},
    {REQUEST_GET, "/v1/ca/trust", get_ca_trust, ACCESS_MEMBER},
    {REQUEST_POST, "/v1/ca/renew", renew_ca, ACCESS_MEMBER},
    {REQUEST_GET, "/v1/ca/certificates", get_ca_certificates},
    {REQUEST_POST, "/v1/ca/tokens", make_ca_token},
    {REQUEST_POST, "/v1/ca/revoke", revoke_ca},
    {REQUEST_POST, "/v1/ca/rollover", advance_ca},
    {REQUEST_POST, "/v1/tls/renew", renew_tls},
    {REQUEST_POST, "/v1/tls/refresh", refresh_tls, ACCESS_PEER},
};
const size_t agent_route_count = sizeof(agent_routes) / sizeof(agent_routes[0]);
