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

# A frozen process hears a signal only once it goes on.
stop() {
    kill -s "$1" $(tenants) 2>/dev/null
    kill -s CONT $(tenants) 2>/dev/null
    attempts=100
    while [ -n "$(tenants)" ] && [ $attempts -gt 0 ]; do
        attempts=$((attempts - 1))
        sleep 0.1
    done
}

# To PostgreSQL, QUIT is an immediate shutdown, which gives its shared memory back.
[ -z "$(tenants)" ] || stop QUIT
[ -z "$(tenants)" ] || stop KILL
rm -rf "$folder" 2>/dev/null
[ ! -e "$folder" ]
