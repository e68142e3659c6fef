# Gives what is ready its owner, mode and time, and then its name. $1: whether to overwrite, $2: what the place is called in
# which files are ready; then for each item its kind, number, path, owner, mode, time, and where it leads. An item of the kind
# "drop" did not get ready. Says what became of each.
overwrite=$1 work=$2
shift 2
why() { printf 'failed %s\n' "$(printf %s "$1" | tr '\n' ' ')"; }
taken() { [ -e "$1" ] || [ -L "$1" ]; }
# Hard links never replace anything; where there are none, nothing but this look keeps us from it.
name_new() { ln "$1" "$2" 2>/dev/null && rm -f "$1" || { ! taken "$2" && mv "$1" "$2"; }; }
# mv would follow a link to a directory.
name_over() { { [ ! -L "$2" ] || rm -f "$2"; } && mv -f "$1" "$2"; }
while [ $# -gt 6 ]; do
    kind=$1 path=$3 owner=$4 mode=$5 time=$6 target=$7 parent=${3%/*}
    ready=$parent/$work/$2
    shift 7
    lost=
    if [ "$kind" = drop ]; then rm -f "$ready"; echo dropped
    elif [ -d "$path" ] && [ ! -L "$path" ]; then rm -f "$ready"; echo "failed a directory is there"
    elif [ "$overwrite" = no ] && taken "$path"; then rm -f "$ready"; echo kept
    elif [ "$kind" = link ]; then
        if problem=$( { rm -f "$path" && ln -s -- "$target" "$path"; } 2>&1); then
            chown -h "$owner" "$path" 2>/dev/null || lost="$lost owner"
            touch -h -m -d "@$time" "$path" 2>/dev/null || lost="$lost times"
            echo "written$lost"
        else why "$problem"
        fi
    else
        chown "$owner" "$ready" 2>/dev/null || lost="$lost owner"
        chmod "$mode" "$ready" 2>/dev/null || lost="$lost mode"
        touch -m -d "@$time" "$ready" 2>/dev/null || touch -m -d "@${time%.*}" "$ready" 2>/dev/null || lost="$lost times"
        sync "$ready" 2>/dev/null
        if [ "$overwrite" = yes ]; then problem=$(name_over "$ready" "$path" 2>&1)
        else problem=$(name_new "$ready" "$path" 2>&1)
        fi && echo "written$lost" || { rm -f "$ready"; why "$problem"; }
    fi
    rmdir "$parent/$work" 2>/dev/null
done
