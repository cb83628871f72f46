#!/bin/sh
# In the place of rustc: tells the version that the environment says, or else the arguments it got, a line each.
case $1 in
-vV) printf 'rustc %s\nrelease: %s\nLLVM version: %s\n' "$RELEASE" "$RELEASE" "$LLVM" ;;
*) printf '%s\n' "$@" ;;
esac
