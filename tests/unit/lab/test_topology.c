/* A lab's plan: names and addresses, each used once. */
#include "test.h"

#include "lab/topology.h"

static void nodes_are_switch_client_and_hosts(void **state)
{
    (void)state;
    static const char *const names[] = {"switch", "client", "h1", "h2"};
    for (size_t i = 0; i < 4; i++) {
        struct lab_node node;
        lab_node_plan(i, 1, &node);
        assert_string_equal(node.name, names[i]);
        assert_int_equal(node.init.pid, 0);
    }
}

static void the_client_is_not_on_the_migration_network(void **state)
{
    (void)state;
    char address[LAB_ADDRESS_SIZE];
    struct lab_node client;
    lab_node_plan(1, 1, &client);
    assert_false(lab_node_address(&client, LAB_NETWORK_MIGRATION, address));
    assert_false(lab_node_is_on(&client, LAB_NETWORK_MIGRATION));
    assert_true(lab_node_address(&client, LAB_NETWORK_VM, address));
    assert_string_equal(address, "10.77.0.1");
    assert_true(lab_node_address(&client, LAB_NETWORK_MANAGEMENT, address));
    assert_string_equal(address, "10.79.0.254");
}

static void hosts_leave_the_vm_network_to_their_guests(void **state)
{
    (void)state;
    char address[LAB_ADDRESS_SIZE];
    struct lab_node host;
    lab_node_plan(4, 1, &host);
    assert_true(lab_node_is_on(&host, LAB_NETWORK_VM));
    assert_false(lab_node_address(&host, LAB_NETWORK_VM, address));
    assert_string_equal(address, "");
    assert_true(lab_node_address(&host, LAB_NETWORK_MIGRATION, address));
    assert_string_equal(address, "10.78.0.3");
    assert_true(lab_node_address(&host, LAB_NETWORK_MANAGEMENT, address));
    assert_string_equal(address, "10.79.0.3");
}

static void a_second_migration_network_is_for_hosts_of_labs_that_have_it(void **state)
{
    (void)state;
    char address[LAB_ADDRESS_SIZE];
    struct lab_node node;
    lab_node_plan(4, 1, &node);
    assert_false(lab_node_is_on(&node, LAB_NETWORK_MIGRATION_2));
    assert_false(lab_node_address(&node, LAB_NETWORK_MIGRATION_2, address));
    lab_node_plan(1, 2, &node);
    assert_false(lab_node_is_on(&node, LAB_NETWORK_MIGRATION_2));
    lab_node_plan(4, 2, &node);
    assert_true(lab_node_is_on(&node, LAB_NETWORK_MIGRATION_2));
    assert_true(lab_node_address(&node, LAB_NETWORK_MIGRATION_2, address));
    assert_string_equal(address, "10.80.0.3");
    assert_true(lab_node_address(&node, LAB_NETWORK_MIGRATION, address));
    assert_string_equal(address, "10.78.0.3");
}

static void nothing_is_used_twice(void **state)
{
    (void)state;
    for (size_t i = 1; i < LAB_NODES_MOST; i++) {
        for (size_t j = i + 1; j < LAB_NODES_MOST; j++) {
            char ports[2][16];
            char addresses[2][LAB_ADDRESS_SIZE];
            uint8_t macs[2][6];
            struct lab_node nodes[2];
            lab_node_plan(i, 1, &nodes[0]);
            lab_node_plan(j, 1, &nodes[1]);
            for (int k = 0; k < 2; k++) {
                lab_switch_port(&nodes[k], LAB_NETWORK_MANAGEMENT, ports[k]);
                lab_node_address(&nodes[k], LAB_NETWORK_MANAGEMENT, addresses[k]);
                lab_node_mac(&nodes[k], LAB_NETWORK_MANAGEMENT, macs[k]);
            }
            assert_string_not_equal(nodes[0].name, nodes[1].name);
            assert_string_not_equal(ports[0], ports[1]);
            assert_string_not_equal(addresses[0], addresses[1]);
            assert_memory_not_equal(macs[0], macs[1], 6);
        }
    }
}

static void macs_are_locally_administered_and_single(void **state)
{
    (void)state;
    struct lab_node host;
    uint8_t mac[6];
    lab_node_plan(LAB_NODES_MOST - 1, 1, &host);
    for (int i = 0; i < LAB_NETWORKS; i++) {
        lab_node_mac(&host, (enum lab_network)i, mac);
        assert_int_equal(mac[0] & 3, 2);
    }
}

static void networks_are_found_by_name(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    enum lab_network network;
    assert_int_equal(lab_network_find("migration", &network, &err), 0);
    assert_int_equal(network, LAB_NETWORK_MIGRATION);
    assert_int_equal(lab_network_find("mig0", &network, &err), -EINVAL);
    assert_non_null(strstr(err.remedy, "management"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_switch_client_and_hosts),
        cmocka_unit_test(the_client_is_not_on_the_migration_network),
        cmocka_unit_test(hosts_leave_the_vm_network_to_their_guests),
        cmocka_unit_test(a_second_migration_network_is_for_hosts_of_labs_that_have_it),
        cmocka_unit_test(nothing_is_used_twice),
        cmocka_unit_test(macs_are_locally_administered_and_single),
        cmocka_unit_test(networks_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
