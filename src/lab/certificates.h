/*
 * A lab's certificates: an authority on the first host, a certificate for each host, and one for an
 * operator on the client. So all that hosts of a lab say to each other is said over mutual TLS, as
 * in a real cluster; only the joining is left out, since whoever makes a lab is root on all of it.
 */
#pragma once

#include "lab/registry.h"

/* The host whose agent holds the authority. */
#define LAB_AUTHORITY_HOST "h1"
#define LAB_OPERATOR "lab"

/* Makes them, in the nodes' folders (folder.h), which are there. */
int certificates_make(const struct lab *lab, struct error *err);
