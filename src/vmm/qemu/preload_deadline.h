/* The part of the preload library that ends QEMU at its deadline. */
#pragma once

/* Arms the deadline that the environment names; without one there is nothing to do. Returns only
 * when QEMU may run: ends the process otherwise. */
void preload_arm_deadline(void);
