# Says of each path whether something is there.
for path; do
    if [ -e "$path" ] || [ -L "$path" ]; then echo yes; else echo no; fi
done
