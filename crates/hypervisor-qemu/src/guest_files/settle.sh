# Gives directories their owner, mode and time: four words each. Says what became of each.
while [ $# -gt 3 ]; do
    path=$1 lost=
    if [ -d "$path" ] && [ ! -L "$path" ]; then
        chown "$2" "$path" 2>/dev/null || lost="$lost owner"
        chmod "$3" "$path" 2>/dev/null || lost="$lost mode"
        touch -m -d "@$4" "$path" 2>/dev/null || touch -m -d "@${4%.*}" "$path" 2>/dev/null || lost="$lost times"
        echo "written$lost"
    else echo "failed it is not there any more"
    fi
    shift 4
done
