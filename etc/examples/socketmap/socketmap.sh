#!/bin/sh
# Looks addresses up in the file $ALIASES, which has lines of "ADDRESS TARGET". See socketmap.conf.
# The file is read for each request, so that a change needs no reload.

while read -r map key; do
    reply="NOTFOUND "
    if [ "$map" != aliases ]; then
        reply="PERM there is no map of this name"
    elif [ ! -r "$ALIASES" ]; then
        reply="TEMP the aliases cannot be read"
    else
        while read -r address target; do
            if [ "$address" = "$key" ]; then
                reply="OK $target"
                break
            fi
        done <"$ALIASES"
    fi
    printf '%s\n' "$reply"
done
