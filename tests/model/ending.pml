/*
 * How it must end. When nothing more can happen every agent that lives is at rest, nothing is left of
 * the move, and one copy runs where the lease says. None runs only after a fault that ended the copy
 * that mattered; then the lease says what the operator can do: start it, or take it over from a host
 * that is down.
 */
#define at_rest(host) (up[host] -> task[host] == idle && !late[host].sent : !returns[host])
#define left_over(host) (copy[host] != absent && copy[host] != running && !failed[host])
#define known(host) (copy[host] == running -> watched[host] : !watched[host])

#define all_at_rest (at_rest(SOURCE) && at_rest(DESTINATION) && at_rest(OTHER))
#define nothing_left \
    (!left_over(SOURCE) && !left_over(DESTINATION) && !left_over(OTHER) && \
     mover[SOURCE] == gone && mover[DESTINATION] == gone && !journal[SOURCE] && \
     !journal[DESTINATION])
#define all_known (known(SOURCE) && known(DESTINATION) && known(OTHER))
#define one_runs (copy[SOURCE] == running || copy[DESTINATION] == running || copy[OTHER] == running)
#define can_be_started \
    (owner == NOBODY || !up[owner] || (task[owner] == idle && !watched[owner]))

proctype judge()
{
    timeout ->
    assert(all_at_rest);
    assert(nothing_left);
    assert(all_known);
    assert(one_runs || (lost && can_be_started));
    assert(mutant != NEVER_MOVED || copy[DESTINATION] != running || owner != DESTINATION);
    assert(mutant != NEVER_STAYED || copy[SOURCE] != running || epoch == FIRST_EPOCH);
    assert(mutant != NEVER_TAKEN_OVER || copy[OTHER] != running);
    assert(mutant != NEVER_NONE_LEFT || one_runs)
}
