/*
 * The lease: the highest owner.N of the VM's folder, and who may run the VM by it.
 *
 * A request to the datastore is one step, for its answer is the same whether it was slow or not. What
 * is not the same is a request whose sender died over it: it may still be carried out much later.
 */
byte epoch = FIRST_EPOCH;
byte owner = SOURCE;
bool won; /* how the last attempt to take an epoch ended */

typedef request {
    bool sent;
    byte after;
    byte who
};
request late[HOSTS];

#define rightful(host) (copy[host] != running || owner == host)
#define one_at_most \
    ((copy[SOURCE] == running) + (copy[DESTINATION] == running) + (copy[OTHER] == running) <= 1)

/* The two things that must never be. */
inline check_safety()
{
    assert(one_at_most);
    assert(rightful(SOURCE) && rightful(DESTINATION) && rightful(OTHER))
}

/* A copy's vCPUs begin to run. */
inline begin(where)
{
    copy[where] = running;
    check_safety()
}

/* Exclusive: the epoch after `last` can be taken once. */
inline lease_advance(last, taker)
{
    if
    :: epoch == last || (mutant == EPOCH_NOT_EXCLUSIVE && epoch > last) ->
        epoch = last + 1;
        owner = taker;
        won = true;
        check_safety()
    :: else -> won = false
    fi
}

inline leave_request(where, last, candidate)
{
    late[where].sent = true;
    late[where].after = last;
    late[where].who = candidate
}

/* Whoever wanted to start the VM has, or was too late. */
inline forget_attempt(where)
{
    seen[where] = 0;
    won = false
}
