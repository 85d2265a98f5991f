/* `drover lab down`, and the end of a lab in whatever state it is. */
#include <stdio.h>

#include "lab/command.h"
#include "lab/folder.h"
#include "lab/node.h"

int lab_tear_down(struct lab *lab, struct error *err)
{
    int result = 0;
    for (size_t i = 0; i < lab->node_count; i++) {
        int killed = node_kill(&lab->nodes[i], err);
        result = result < 0 ? result : killed;
    }
    if (result < 0) { /* its files may still be in use */
        return result;
    }
    result = folder_remove(lab, err);
    return result < 0 ? result : registry_remove(lab, err);
}

int lab_down(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    int result = registry_open(arguments->lab_name, false, &lab, err);
    if (result == 0) {
        result = lab_tear_down(&lab, err);
    }
    if (result < 0) {
        return result;
    }
    printf("lab %s is down\n", lab.name);
    return 0;
}
