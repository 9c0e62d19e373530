#!/usr/bin/env bash
# Orders an export over HTTP with curl, waits for its end and downloads the clips:
#
#   CLIPFERRY_URL=http://127.0.0.1:8080 CLIPFERRY_KEY=… examples/order.sh proj_abc123 order-4711
#
# Needs curl and jq. The same order sent again, with the same key, is the same export.
set -euo pipefail
project=$1 order=$2
api=$CLIPFERRY_URL/api/v2/clips/export
headers=(-H "Authorization: Bearer $CLIPFERRY_KEY" -H "x-wayinvideo-api-version: v2")

# --retry repeats the order when the answer is lost; the Idempotency-Key makes that safe.
id=$(curl -fsS --retry 5 --retry-all-errors "${headers[@]}" -H "Content-Type: application/json" \
  -H "Idempotency-Key: \"$order\"" -d "{\"project_id\": \"$project\"}" "$api" | jq -r .data.export_task_id)
echo "ordered: $id" >&2

while true; do
  export=$(curl -fsS --retry 5 "${headers[@]}" "$api/$id")
  case $(jq -r .data.status <<<"$export") in
    SUCCEEDED) break ;;
    FAILED)
      jq -r .data.error_message <<<"$export" >&2
      exit 1
      ;;
  esac
  sleep "${POLL_SECONDS:-5}" # as often as you like: a read spends nothing at the provider
done

# Links lead to S3 by a redirect, and need no key.
jq -r '.data.clips[] | "\(.idx) \(.export_link)"' <<<"$export" | while read -r idx link; do
  curl -fsSL -o "$order-$idx.mp4" "$link"
  echo "$order-$idx.mp4"
done
