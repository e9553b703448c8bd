#!/bin/sh
# Prints results until Ctrl-C, a line each: AMQP_URL=amqp://… ./consume.sh (Debian's amqp-tools).
# For tries by hand: the queue goes when the command ends, and amqp-consume can declare no durable one.
set -eu
exec amqp-consume --url="$AMQP_URL" --queue=onboarding-web.by-hand --exclusive \
  --exchange=verification.results --routing-key='onboarding-web.*' -- sh -c 'cat && echo'
