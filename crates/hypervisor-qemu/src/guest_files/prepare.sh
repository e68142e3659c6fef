# Makes directories, and a place beside each file in which it can be written. $1: whether to overwrite, $2: what that place is
# called; then the kind and the path of each item, directories before what is in them. Says what is to become of each.
overwrite=$1 work=$2
shift 2
umask 022
missing= ready=
why() { printf 'failed %s\n' "$(printf %s "$1" | tr '\n' ' ')"; }
while [ $# -gt 1 ]; do
    kind=$1 path=$2 parent=${2%/*}
    shift 2
    case $path in "$missing"/*) [ -z "$missing" ] || { echo "failed its directory is not there"; continue; };; esac
    if [ "$kind" = directory ]; then
        if [ -d "$path" ] && [ ! -L "$path" ]; then echo kept
        elif [ -e "$path" ] || [ -L "$path" ]; then missing=$path; echo "failed something is there that is no directory"
        elif problem=$(mkdir -p -m 700 "$path" 2>&1); then echo ready
        else missing=$path; why "$problem"
        fi
    elif [ -d "$path" ] && [ ! -L "$path" ]; then echo "failed a directory is there"
    elif [ "$overwrite" = no ] && { [ -e "$path" ] || [ -L "$path" ]; }; then echo kept
    elif [ -n "$ready" ] && [ "$ready" = "$parent/" ]; then echo ready
    elif problem=$( { mkdir -p "$parent/" && rm -rf "$parent/$work" && mkdir -m 700 "$parent/$work"; } 2>&1); then
        ready=$parent/
        echo ready
    else why "$problem"
    fi
done
