#!/bin/sh
# Says whom the server takes the client for and what arrived.
sum=$(sha256sum)
printf 'Content-Type: text/plain\r\nCache-Control: no-store\r\n\r\n'
printf 'user=%s\nmethod=%s\nlength=%s\nsha256=%s\n' \
    "$REMOTE_USER" "$REQUEST_METHOD" "${CONTENT_LENGTH:-none}" "${sum%% *}"
