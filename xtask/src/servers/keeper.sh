# Outlives its run by a moment: when standard input ends, because the run did, everything that
# works in the run's folder is stopped, and the folder removed. A line on standard input means that
# the folder is to stay.
#
# It runs as the user that the servers run as, so that it may see and stop them without privileges.
# Whoever works in the folder is one of ours: servers, their backends, and initdb have their working
# folder there. A process id from a file could belong to somebody else by now.

folder=$1
trap '' HUP INT TERM
if read -r _; then exit 0; fi

tenants() {
    ls -ld /proc/[0-9]*/cwd 2>/dev/null | sed -n "s|.* /proc/\([0-9]*\)/cwd -> $folder.*|\1|p"
}

# The tenants that no other tenant started: servers, initdb.
heads() {
    all=" $(tenants | tr '\n' ' ')"
    for tenant in $all; do
        parent=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$tenant/status" 2>/dev/null)
        case "$all" in *" $parent "*) ;; *) echo "$tenant" ;; esac
    done
}

# Sends a signal to whom it is for until nobody is left. The frozen hear it once they go on.
stop() {
    attempts=100
    while [ -n "$(tenants)" ] && [ $attempts -gt 0 ]; do
        kill -s "$1" $($2) 2>/dev/null
        kill -s CONT $(tenants) 2>/dev/null
        attempts=$((attempts - 1))
        sleep 0.1
    done
}

# To a server, QUIT is an immediate shutdown: it ends its own children, and gives shared memory
# back. So does a child of initdb when initdb ends.
stop QUIT heads
stop KILL tenants

# A server that was killed left its process id and its shared memory. Only PostgreSQL knows which
# memory that is, and gives it back when it has run once more.
for left in "$folder"/*/data/postmaster.pid; do
    [ -e "$left" ] || continue
    rm "$left"
    data=${left%/postmaster.pid}
    program=$(sed 's/ .*//' "$data/postmaster.opts")
    timeout 60 "$program" --single -D "$data" postgres </dev/null >/dev/null 2>&1
done

rm -rf "$folder" 2>/dev/null
[ ! -e "$folder" ]
