#!/bin/sh
# Publishes one request: AMQP_URL=amqp://… ./publish.sh request.json (Debian's amqp-tools).
# For tries by hand: amqp-publish does not wait for the broker's confirm.
set -eu
amqp-publish --url="$AMQP_URL" --exchange=verification.requests --routing-key=onboarding-web \
  --persistent --content-type=application/json <"$1"
