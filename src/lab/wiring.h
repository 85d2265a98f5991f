/* The lab's cables: veth pairs from each node to the switch's bridges. */
#pragma once

#include <stdint.h>

#include "lab/registry.h"

/* Makes the switch's bridges. */
int wiring_prepare_switch(const struct lab *lab, struct error *err);

/* Lays a node's cables to the switch and gives it its addresses. */
int wiring_connect(const struct lab *lab, const struct lab_node *node, struct error *err);

/* Pulls a cable out of the switch, or plugs it in again. */
int wiring_set_link(const struct lab *lab, const struct lab_node *node, enum lab_network network,
                    bool up, struct error *err);

/* Limits what a node's cable carries in each direction, in bytes a second; 0: no limit. */
int wiring_limit_rate(const struct lab *lab, const struct lab_node *node, enum lab_network network,
                      uint64_t bytes_per_second, struct error *err);
