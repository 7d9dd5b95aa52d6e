#!/bin/sh
# Who is asking: "account password" on standard input, without an end of line.
# Exit 0: the password is right, and labels may be printed. 1: it is wrong. 2: not mine, ask the next. Else: I cannot tell.

IFS= read -r line || [ -n "$line" ] || exit 3
account=${line%% *}
password=${line#* }

case $account in
cicd)
  [ -n "$CICD_SECRET" ] || exit 3
  [ "$password" = "$CICD_SECRET" ] || exit 1
  echo '{"labels": {"group": ["CICD"]}}'
  ;;
*)
  exit 2
  ;;
esac
