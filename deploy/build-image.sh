#!/bin/sh
# Builds the image of one service from a checkout, with labels that say what it was made from, the same from build to
# build: sh deploy/build-image.sh issuer|generator|console|lifecycle|commands|all [OPTION ...]
# The options go to the builder, such as --tag; CODEWELL_BUILDER names another one than Docker's. BASE is another base.
set -eu

case "${1:-}" in
  issuer|lifecycle) extras=issuer,tracing ;;
  generator) extras=generator ;;
  console) extras=console,oidc,tracing ;;
  commands) extras= ;;
  all) extras=issuer,generator,console,oidc,tracing ;;
  *) echo "Name what to build: issuer, generator, console, lifecycle, commands or all." >&2; exit 2 ;;
esac
shift
cd "$(dirname "$0")/.."

# The time of the revision; a tree without one has the time of its distribution's format.
moment=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1580601600)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if ! git diff --quiet HEAD 2>/dev/null; then revision="$revision-changed"; fi
source=${SOURCE:-$(git config --get remote.origin.url 2>/dev/null || echo unknown)}
base=${BASE:-python:3.13-slim}
digest=${BASE_DIGEST:-$(echo "$base" | sed -n 's/.*@\(sha256:.*\)/\1/p')}

# shellcheck disable=SC2086
exec ${CODEWELL_BUILDER:-docker build} --file deploy/Dockerfile \
  --build-arg "EXTRAS=$extras" \
  --build-arg "BASE=$base" \
  --build-arg "BASE_DIGEST=${digest:-unknown: $base is a tag}" \
  --build-arg "SOURCE=$source" \
  --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date --utc --date="@$moment" +%FT%TZ)" \
  --build-arg "SOURCE_DATE_EPOCH=$moment" \
  "$@" .
