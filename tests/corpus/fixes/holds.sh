#!/usr/bin/env bash
# Holds a lock, a file that it reads on from and one that it writes on to, all
# under numbers of its own choice, and answers each number on its input:
#   holds.sh FOLDER
set -euo pipefail
cd "$1"
exec 200>lock 201<rows 202>>log
flock 200
while read -r number; do
    read -r row <&201
    echo "line $number" >&202
    echo "$(cat <(echo "$number")) $row"
done
