/* Moves that come in: see move_list.h. */
#include "agent/move/move_list.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/json.h"
#include "base/uuid.h"

#define MOVE_FROM_SIZE 64

struct move {
    struct move *next; /* older */
    char id[UUID_TEXT_SIZE];
    char from[MOVE_FROM_SIZE];
    enum move_state state;
    bool cancelled;
    bool disowned;
    struct error error;
    json_t *statistics;
};

struct move_list {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    struct move *newest;
};

struct move_list *move_list_new(void)
{
    struct move_list *list = calloc(1, sizeof(*list));
    if (!list) {
        return NULL;
    }
    pthread_mutex_init(&list->mutex, NULL);
    condition_init(&list->ended);
    return list;
}

static void move_free(struct move *move)
{
    json_decref(move->statistics);
    free(move);
}

void move_list_free(struct move_list *list)
{
    if (!list) {
        return;
    }
    while (list->newest) {
        struct move *move = list->newest;
        list->newest = move->next;
        move_free(move);
    }
    pthread_cond_destroy(&list->ended);
    pthread_mutex_destroy(&list->mutex);
    free(list);
}

/* With the mutex held, as all below. */
static struct move *find(const struct move_list *list, const char *id)
{
    struct move *move = list->newest;
    while (move && strcmp(move->id, id) != 0) {
        move = move->next;
    }
    return move;
}

static void forget_old(struct move_list *list)
{
    size_t ended = 0;
    for (struct move **link = &list->newest; *link;) {
        struct move *move = *link;
        if (move->state != MOVE_RECEIVING && ++ended > MOVES_ENDED_KEPT) {
            *link = move->next;
            move_free(move);
        } else {
            link = &move->next;
        }
    }
}

int move_list_begin(struct move_list *list, const char *move_id, const char *from,
                    struct error *err)
{
    int result = 0;
    struct move *move = calloc(1, sizeof(*move));
    pthread_mutex_lock(&list->mutex);
    if (!move) {
        result = error_set_errno(err, ENOMEM, "cannot take in move %s", move_id);
    } else if (find(list, move_id)) {
        result = error_set(err, EEXIST, "move %s is known already", move_id);
    } else {
        snprintf(move->id, sizeof(move->id), "%s", move_id);
        snprintf(move->from, sizeof(move->from), "%s", from);
        move->next = list->newest;
        list->newest = move;
        move = NULL;
    }
    pthread_mutex_unlock(&list->mutex);
    free(move);
    return result;
}

bool move_list_is_from(struct move_list *list, const char *move_id, const char *host)
{
    pthread_mutex_lock(&list->mutex);
    const struct move *move = find(list, move_id);
    bool is_from = move && strcmp(move->from, host) == 0;
    pthread_mutex_unlock(&list->mutex);
    return is_from;
}

void move_list_end(struct move_list *list, const char *move_id, enum move_state state,
                   const struct error *err, json_t *statistics)
{
    pthread_mutex_lock(&list->mutex);
    struct move *move = find(list, move_id);
    if (move) {
        move->state = state;
        move->error = err ? *err : ERROR_NONE;
        move->statistics = json_incref(statistics);
        pthread_cond_broadcast(&list->ended);
        forget_old(list);
    }
    pthread_mutex_unlock(&list->mutex);
    json_decref(statistics);
}

static json_t *error_or_null(const struct move *move)
{
    if (move->error.code == 0) {
        return json_null();
    }
    CLEANUP_JSON json_t *wrapped = json_from_error(&move->error);
    return json_incref(json_object_get(wrapped, "error"));
}

json_t *move_list_get(struct move_list *list, const char *move_id)
{
    static const char *const names[] = {"receiving", "running", "abandoned", "failed"};
    json_t *found = NULL;
    pthread_mutex_lock(&list->mutex);
    const struct move *move = find(list, move_id);
    if (move) {
        found = json_pack("{s:s, s:o, s:o}", "state", names[move->state], "error",
                          error_or_null(move), "statistics",
                          move->statistics ? json_deep_copy(move->statistics) : json_null());
    }
    pthread_mutex_unlock(&list->mutex);
    return found;
}

int move_list_cancel(struct move_list *list, const char *move_id, bool disowned,
                     uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
    bool in_time = true;
    int result;
    pthread_mutex_lock(&list->mutex);
    struct move *move = find(list, move_id);
    while (move && move->state == MOVE_RECEIVING && in_time) {
        move->cancelled = true;
        move->disowned = move->disowned || disowned;
        in_time = condition_wait(&list->ended, &list->mutex, deadline_ns);
        move = find(list, move_id);
    }
    if (!move) {
        result = error_set(err, ENOENT, "there is no move %s", move_id);
    } else if (move->state == MOVE_RECEIVING) {
        result = error_set(err, ETIMEDOUT, "move %s does not come to an end", move_id);
    } else {
        result = (int)move->state;
    }
    pthread_mutex_unlock(&list->mutex);
    return result;
}

bool move_list_is_cancelled(struct move_list *list, const char *move_id)
{
    pthread_mutex_lock(&list->mutex);
    const struct move *move = find(list, move_id);
    bool cancelled = move && move->cancelled;
    pthread_mutex_unlock(&list->mutex);
    return cancelled;
}

bool move_list_is_disowned(struct move_list *list, const char *move_id)
{
    pthread_mutex_lock(&list->mutex);
    const struct move *move = find(list, move_id);
    bool disowned = move && move->disowned;
    pthread_mutex_unlock(&list->mutex);
    return disowned;
}
