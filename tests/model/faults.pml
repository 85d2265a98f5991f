/* What goes wrong: crashes, outages, deadlines that pass, requests that come late. */

/* A fault that ends the copy that matters may leave none: before the commit that is the source's,
 * after it the destination's, which the source cannot ask in the moment between READY and RUN. */
inline end_copy(where)
{
    if
    :: copy[where] == halted || (owner == where && copy[where] != absent) -> lost = true
    :: else
    fi;
    copy[where] = absent
}

/* What an agent was just asking of the datastore when it died. */
inline leave_behind(where)
{
    if
    :: true
    :: task[where] == owning || task[where] == owning_first ->
        leave_request(where, seen[where], where)
    :: task[where] == disowning && owner == where -> leave_request(where, epoch, NOBODY)
    :: where == SOURCE && task[where] == following && mover[where] == committing && tried ->
        leave_request(where, FIRST_EPOCH, DESTINATION)
    :: where == SOURCE && task[where] == following && tried &&
       (mover[where] == committing || mover[where] == gone) ->
        leave_request(where, FIRST_EPOCH, SOURCE)
    :: where == DESTINATION && task[where] == following &&
       (mover[where] == settling || mover[where] == gone) ->
        leave_request(where, FIRST_EPOCH, SOURCE)
    fi
}

inline kill_agent(where)
{
    leave_behind(where);
    task[where] = down;
    watched[where] = false;
    failed[where] = false;
    seen[where] = 0;
    if
    :: where == SOURCE -> said_place = false
    :: else
    fi
}

/* QEMU goes on by itself when who read its state is gone before it was all read. */
inline kill_mover(side)
{
    if
    :: side == SOURCE && mover[side] == saving && copy[side] == halted -> begin(side)
    :: else
    fi;
    end_mover(side)
}

inline kill_host(where)
{
    kill_agent(where);
    end_copy(where);
    up[where] = false;
    if
    :: returns[where] = true
    :: returns[where] = false
    fi;
    if
    :: where != OTHER ->
        end_mover(where);
        journal[where] = false
    :: else
    fi
}

/* The kernel ends what was armed for the deadline. Nobody takes the host for dead before that, for
 * takeover_ns is longer than stop_after_ns. */
inline expire(where)
{
    expired[where] = true;
    if
    :: up[where] && mutant != DEADLINE_NOT_ARMED -> end_copy(where)
    :: else
    fi
}

#define repairable(host) ((!up[host] && returns[host]) || (up[host] && (!store[host] || expired[host])))

/* What was away is there again; the first renewal after that sets a new deadline. */
inline repair(where)
{
    if
    :: !up[where] -> up[where] = true
    :: up[where] && !store[where] -> store[where] = true
    :: up[where] && store[where] && expired[where] -> expired[where] = false
    fi
}

/* A request whose sender is dead is carried out after all, or never. */
inline arrive(where)
{
    if
    :: lease_advance(late[where].after, late[where].who); won = false
    :: true
    fi;
    late[where].sent = false;
    late[where].after = 0;
    late[where].who = 0
}

/* One for each host: what befalls it, and what follows from it by itself. */
proctype misfortune(byte host)
{
end:
    do
    :: atomic { faults > 0 && up[host] && task[host] != down -> faults--; kill_agent(host) }
    :: atomic { faults > 0 && up[host] -> faults--; kill_host(host) }
    :: atomic { faults > 0 && copy[host] != absent -> faults--; end_copy(host) }
    :: atomic { faults > 0 && store[host] && up[host] -> faults--; store[host] = false }
    :: atomic { faults > 0 && host != OTHER && mover[host] != gone -> faults--; kill_mover(host) }
    :: atomic { /* the offer is said once more */
            faults > 0 && host == SOURCE && moves && !said_offer ->
            faults--;
            said_offer = true
        }
    :: atomic { silent(host) && !expired[host] -> expire(host) }
    :: atomic { repairable(host) -> repair(host) }
    :: atomic { late[host].sent -> arrive(host) }
    od
}
