#!/bin/sh
# Who is asking: "user password" on standard input, without an end of line. Exit 0: let in, and labels may be printed;
# 1: the password is wrong; 2: not mine, ask the next; anything else: I cannot tell.

IFS= read -r line || [ -n "$line" ] || exit 1
user=${line%% *}
password=${line#* }

if [ "$user" = cicd ]; then
  [ -n "$CICD_SECRET" ] || exit 3 # nobody has said what it is
  [ "$password" = "$CICD_SECRET" ] || exit 1
  echo '{"labels": {"group": ["CICD"]}}'
  exit 0
fi

exec "${0%/*}/ext_auth.py" "$user" "$password"
