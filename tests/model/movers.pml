/* The movers: src/engine/source.c and source_switchover.c, src/engine/destination.c. */

/* Until READY is there every failure, delay, ABORT and cancel is the same: the move is off. */
#define source_may_fail \
    (mover[SOURCE] == sending || mover[SOURCE] == saving || mover[SOURCE] == awaiting_ready)

/* abandon() of the source: first of all the guest goes on. */
inline resume_guest()
{
    if
    :: copy[SOURCE] == absent -> mover[SOURCE] = stranded
    :: else ->
        begin(SOURCE);
        mover[SOURCE] = stayed
    fi
}

/* run_guest() of the destination. */
inline run_guest()
{
    if
    :: copy[DESTINATION] == absent -> mover[DESTINATION] = stranded
    :: else ->
        begin(DESTINATION);
        mover[DESTINATION] = moved
    fi
}

proctype source_mover()
{
end:
    do
    :: atomic { /* stop_guest() */
            mover[SOURCE] == sending && copy[SOURCE] == running ->
            copy[SOURCE] = halted;
            mover[SOURCE] = saving
        }
    :: atomic { /* last_round(), end_state() */
            mover[SOURCE] == saving && copy[SOURCE] == halted ->
            said_state = (mover[DESTINATION] != gone);
            mover[SOURCE] = awaiting_ready
        }
    :: atomic { /* await_ready() */
            mover[SOURCE] == awaiting_ready && said_ready ->
            said_run = (mutant == RUN_BEFORE_COMMIT && mover[DESTINATION] != gone);
            mover[SOURCE] = committing
        }
    :: atomic { /* hand_over(): commit() has answered; RUNNING comes, or is missed */
            mover[SOURCE] == committing && answer[SOURCE] == to_destination ->
            said_run = (mover[DESTINATION] != gone);
            mover[SOURCE] = moved
        }
    :: atomic {
            mover[SOURCE] == committing &&
            (answer[SOURCE] == to_source || mutant == RESUME_WITHOUT_ASKING) ->
            resume_guest()
        }
    :: atomic { /* source_check(), patience_check(), a lost channel */
            source_may_fail -> resume_guest()
        }
    od
}

proctype destination_mover()
{
end:
    do
    :: atomic { /* receive_guest(), load(), and READY is said */
            mover[DESTINATION] == receiving && copy[DESTINATION] == filling && said_state ->
            copy[DESTINATION] = halted;
            said_ready = (mover[SOURCE] != gone);
            mover[DESTINATION] = awaiting_run
        }
    :: atomic { /* abandon(): whatever fails before that */
            mover[DESTINATION] == receiving -> mover[DESTINATION] = stayed
        }
    :: atomic { /* await_run() */
            mover[DESTINATION] == awaiting_run && said_run -> run_guest()
        }
    :: atomic { /* anything but RUN */
            mover[DESTINATION] == awaiting_run && mutant != RUN_AWAITED_FOR_EVER ->
            if
            :: mutant == RUN_WITHOUT_LEASE -> run_guest()
            :: mutant == GIVE_UP_WITHOUT_LEASE -> mover[DESTINATION] = stayed
            :: else -> mover[DESTINATION] = settling
            fi
        }
    :: atomic { /* settle() has answered */
            mover[DESTINATION] == settling && answer[DESTINATION] == to_destination -> run_guest()
        }
    :: atomic {
            mover[DESTINATION] == settling && answer[DESTINATION] == to_source ->
            mover[DESTINATION] = stayed
        }
    od
}
