/* The table of the API's calls; docs/openapi.yaml describes them. */
#include "agent/routes.h"

const struct route agent_routes[] = {
    {REQUEST_GET, "/v1/host", get_host},
    {REQUEST_GET, "/v1/vms", get_vms},
    {REQUEST_POST, "/v1/vms", create_vm},
    {REQUEST_GET, "/v1/vms/{}", get_vm},
    {REQUEST_DELETE, "/v1/vms/{}", delete_vm},
    {REQUEST_POST, "/v1/vms/{}/start", start_vm},
    {REQUEST_POST, "/v1/vms/{}/stop", stop_vm},
    {REQUEST_POST, "/v1/vms/{}/migrate", migrate_vm},
    {REQUEST_GET, "/v1/tasks", get_tasks},
    {REQUEST_GET, "/v1/tasks/{}", get_task},
    {REQUEST_POST, "/v1/tasks/{}/cancel", cancel_task},
    {REQUEST_POST, "/v1/incoming/check", check_incoming},
    {REQUEST_POST, "/v1/incoming", begin_incoming},
    {REQUEST_GET, "/v1/incoming/{}", get_incoming},
    {REQUEST_DELETE, "/v1/incoming/{}", delete_incoming},
};
const size_t agent_route_count = sizeof(agent_routes) / sizeof(agent_routes[0]);
