/*
 * The agents: src/agent/. An agent that dies between taking an epoch and acting upon it is the same
 * as one whose request was carried out after its death (faults.pml), so the two are one step.
 */

/* ---- whatever host it is: starting, ending, coming back ---- */

/* Whether an observer takes a host for dead: its counter has stood still for takeover_ns, which is
 * later than its deadline; or an operator vouches that it is off (--fenced). */
#define silent(host) (!up[host] || !store[host])
#define judged_dead(host) \
    (expired[host] || !up[host] || (mutant == TAKE_OVER_BEFORE_STOP_AFTER && silent(host)))

#define startable(host) (owner == NOBODY || owner == host || (owner < NOBODY && judged_dead(owner)))
#define has_ended(side) (mover[side] == moved || mover[side] == stayed || mover[side] == stranded)
#define moving(host) (host != OTHER && journal[host])

proctype agent(byte host)
{
end:
    do
    :: atomic { /* ownership_take(): the lease is read, then its owner judged */
            task[host] == idle && starts > 0 && store[host] && copy[host] == absent &&
            !watched[host] && !failed[host] && !expired[host] && startable(host) ->
            starts--;
            seen[host] = epoch;
            task[host] = (mutant == LEASE_BEFORE_DEADLINE -> owning_first : launching)
        }
    :: atomic { /* launch_start(): QEMU's deadline is armed, its vCPUs wait */
            task[host] == launching ->
            if
            :: expired[host] -> task[host] = disowning
            :: else ->
                copy[host] = halted;
                task[host] = owning
            fi;
            seen[host] = (task[host] == owning -> seen[host] : 0)
        }
    :: atomic { /* lease_advance(), and the vCPUs run */
            task[host] == owning && copy[host] == halted &&
            (store[host] || mutant == LEASE_BEFORE_DEADLINE) ->
            if
            :: mutant == LEASE_BEFORE_DEADLINE -> won = true
            :: else -> lease_advance(seen[host], host)
            fi;
            if
            :: won -> begin(host)
            :: else -> copy[host] = absent
            fi;
            watched[host] = won;
            task[host] = (won -> idle : disowning);
            forget_attempt(host)
        }
    :: atomic { /* its deadline came first */
            task[host] == owning && copy[host] == absent ->
            task[host] = disowning;
            forget_attempt(host)
        }
    :: atomic { /* the other way round */
            task[host] == owning_first && store[host] ->
            lease_advance(seen[host], host);
            task[host] = (won -> launching : disowning);
            won = false
        }
    :: atomic { /* lifecycle_ended() */
            task[host] == idle && watched[host] && copy[host] == absent ->
            watched[host] = false;
            task[host] = disowning
        }
    :: atomic { /* lifecycle_disown(); without a datastore the name stays */
            task[host] == disowning ->
            if
            :: store[host] && owner == host -> lease_advance(epoch, NOBODY)
            :: else
            fi;
            won = false;
            task[host] = idle
        }
    :: atomic { /* adopt_one(), disown_dead(): started again, by systemd or with its host */
            task[host] == down && up[host] ->
            if
            :: moving(host) -> task[host] = following
            :: !moving(host) && copy[host] == absent -> task[host] = disowning
            :: !moving(host) && copy[host] != absent ->
                if
                :: mutant != FOREIGN_COPY_ADOPTED && store[host] && owner != host ->
                    copy[host] = absent
                :: mutant != FOREIGN_COPY_ADOPTED && copy[host] != running ->
                    copy[host] = absent /* it was only just starting */
                :: else -> watched[host] = true
                fi;
                task[host] = (watched[host] -> idle : disowning)
            fi
        }
    od
}

/* ---- a move, from the side that the VM leaves ---- */

#define asked \
    (task[SOURCE] == following && mover[SOURCE] == committing && answer[SOURCE] == none)

proctype source_agent()
{
end:
    do
    :: atomic { /* reserve() has an answer: start_mover() */
            task[SOURCE] == reserving && said_place ->
            mover[SOURCE] = sending;
            said_place = false;
            task[SOURCE] = following
        }
    :: atomic { /* it has none: give_up() */
            task[SOURCE] == reserving -> task[SOURCE] = ending_stayed
        }
    :: atomic { /* move_follow(): the mover asks, answer(): journal_commit() */
            asked && !tried -> tried = true
        }
    :: atomic { /* ... move_owner_commit() */
            asked && tried && store[SOURCE] ->
            lease_advance(FIRST_EPOCH, DESTINATION);
            won = false;
            if
            :: owner == DESTINATION -> answer[SOURCE] = to_destination
            :: owner == SOURCE -> answer[SOURCE] = to_source
            :: else -> /* somebody took the VM over from the destination */
                if
                :: mutant == SOURCE_UNLESS_DESTINATION -> answer[SOURCE] = to_source
                :: else -> task[SOURCE] = ending_moved
                fi
            fi
        }
    :: atomic { /* ... of a question that is old: move_owner_take_back() */
            asked && copy[SOURCE] != absent &&
            (!tried || store[SOURCE] || mutant == OLD_QUESTION_WITHOUT_LEASE) ->
            if
            :: tried && mutant != OLD_QUESTION_WITHOUT_LEASE -> lease_advance(FIRST_EPOCH, SOURCE)
            :: else
            fi;
            won = false;
            if
            :: !tried || owner == SOURCE || mutant == OLD_QUESTION_WITHOUT_LEASE ->
                answer[SOURCE] = to_source
            :: else ->
                if
                :: owner == DESTINATION -> answer[SOURCE] = to_destination
                :: else -> task[SOURCE] = ending_moved
                fi
            fi
        }
    :: atomic { /* ... it tells its end */
            task[SOURCE] == following && has_ended(SOURCE) ->
            if
            :: mover[SOURCE] == moved -> task[SOURCE] = ending_moved
            :: mover[SOURCE] == stayed -> task[SOURCE] = ending_stayed
            :: mover[SOURCE] == stranded -> task[SOURCE] = taking_back
            fi
        }
    :: atomic { /* ... it is dead, or hung: end_without_result() */
            task[SOURCE] == following && (mover[SOURCE] == gone || source_may_fail) &&
            (!tried || store[SOURCE]) ->
            if
            :: !tried || mutant == TAKE_BACK_BY_LOOKING || mutant == TAKE_BACK_WITHOUT_LEASE
            :: else -> lease_advance(FIRST_EPOCH, SOURCE)
            fi;
            won = false;
            task[SOURCE] = (!tried || owner == SOURCE || mutant == TAKE_BACK_WITHOUT_LEASE ->
                            taking_back : ending_moved)
        }
    :: atomic { /* end_stranded(): move_dismiss(), then take_back() */
            task[SOURCE] == taking_back ->
            if
            :: mover[SOURCE] != gone -> end_mover(SOURCE)
            :: mover[SOURCE] == gone && copy[SOURCE] != absent ->
                begin(SOURCE);
                task[SOURCE] = ending_stayed
            :: mover[SOURCE] == gone && copy[SOURCE] == absent -> task[SOURCE] = ending_stayed
            fi
        }
    :: atomic { /* end_moved() */
            task[SOURCE] == ending_moved -> end_mover(SOURCE);
            copy[SOURCE] = absent;
            task[SOURCE] = ending_stayed
        }
    :: atomic { /* end_stayed(), and the end of end_moved(): the record of the move goes */
            task[SOURCE] == ending_stayed && store[SOURCE] ->
            end_mover(SOURCE);
            said_place = false;
            journal[SOURCE] = false;
            tried = false;
            watched[SOURCE] = (copy[SOURCE] != absent);
            task[SOURCE] = (copy[SOURCE] != absent -> idle : disowning)
        }
    od
}

/* ---- a move, from the side that the VM comes to ---- */

#define destination_may_hang \
    (mover[DESTINATION] == receiving || \
     (mover[DESTINATION] == awaiting_run && mutant != RUN_AWAITED_FOR_EVER))

proctype destination_agent()
{
end:
    do
    :: atomic { /* incoming_begin(): find_vm(), start_both() */
            task[DESTINATION] == idle && said_offer && store[DESTINATION] &&
            copy[DESTINATION] == absent && !watched[DESTINATION] && !failed[DESTINATION] ->
            said_offer = false;
            if
            :: epoch == FIRST_EPOCH && owner == SOURCE && !expired[DESTINATION] ->
                journal[DESTINATION] = (mutant != MOVE_NOT_JOURNALED);
                copy[DESTINATION] = filling;
                mover[DESTINATION] = receiving;
                said_place = (task[SOURCE] == reserving);
                task[DESTINATION] = following
            :: else
            fi
        }
    :: atomic { /* move_follow(): the mover asks, answer(), move_decide() */
            task[DESTINATION] == following && mover[DESTINATION] == settling &&
            answer[DESTINATION] == none && store[DESTINATION] ->
            lease_advance(FIRST_EPOCH, SOURCE);
            won = false;
            answer[DESTINATION] = (owner == DESTINATION -> to_destination : to_source)
        }
    :: atomic { /* ... it tells its end */
            task[DESTINATION] == following && has_ended(DESTINATION) ->
            if
            :: mover[DESTINATION] == moved -> task[DESTINATION] = ending_moved
            :: mover[DESTINATION] == stayed -> task[DESTINATION] = ending_abandoned
            :: mover[DESTINATION] == stranded ->
                failed[DESTINATION] = true;
                task[DESTINATION] = ending_moved
            fi
        }
    :: atomic { /* ... it is hung: end_without_result() ends it first */
            task[DESTINATION] == following && destination_may_hang -> end_mover(DESTINATION)
        }
    :: atomic { /* ... it is dead: end_without_result() */
            task[DESTINATION] == following && mover[DESTINATION] == gone &&
            (store[DESTINATION] || mutant == RUN_HERE_WITHOUT_LEASE) ->
            if
            :: mutant == RUN_HERE_WITHOUT_LEASE
            :: else -> lease_advance(FIRST_EPOCH, SOURCE)
            fi;
            won = false;
            task[DESTINATION] = (owner == DESTINATION || mutant == RUN_HERE_WITHOUT_LEASE ->
                                 running_here : ending_abandoned)
        }
    :: atomic { /* run_here() */
            task[DESTINATION] == running_here ->
            if
            :: copy[DESTINATION] == halted || copy[DESTINATION] == running -> begin(DESTINATION)
            :: else -> failed[DESTINATION] = true
            fi;
            task[DESTINATION] = ending_moved
        }
    :: atomic { /* end_moved(), end_stranded() */
            task[DESTINATION] == ending_moved && store[DESTINATION] ->
            end_mover(DESTINATION);
            journal[DESTINATION] = false;
            watched[DESTINATION] = !failed[DESTINATION];
            task[DESTINATION] = idle
        }
    :: atomic { /* end_abandoned() */
            task[DESTINATION] == ending_abandoned && store[DESTINATION] ->
            end_mover(DESTINATION);
            copy[DESTINATION] = absent;
            journal[DESTINATION] = false;
            task[DESTINATION] = idle
        }
    od
}
