# Sourced by the scripts beside it: starts bin/throng, or the binary that $throng
# names, on a free port and stops it when the script ends.

# serve FLAGS... sets url (http://…, without a slash at its end), server (its
# process) and data (its directory).
serve() {
	data=$(mktemp -d)
	exec {ready}< <(exec "${throng:-bin/throng}" serve --dev --listen 127.0.0.1:0 --data-dir "$data" "$@" 2>"$data/log")
	server=$!
	trap stop EXIT
	local line
	if ! read -r line <&"$ready" || [[ $line != "throng is ready: "* ]]; then
		echo "throng does not start:" >&2
		cat "$data/log" >&2
		exit 1
	fi
	url=${line#throng is ready: }
	url=${url%/}
}

stop() {
	kill "$server" 2>/dev/null || true
	exec {ready}<&-
	rm -rf "$data"
}

# need PROGRAM PACKAGES... installs Debian's packages where the program is
# missing; who is not root is told how.
need() {
	local program=$1
	shift
	command -v "$program" >/dev/null && return
	local install="apt-get install -y --no-install-recommends $*"
	if [ "$(id -u)" -ne 0 ]; then
		printf '%s is missing. As root:\n    apt-get update && %s\n' "$program" "$install" >&2
		exit 1
	fi
	DEBIAN_FRONTEND=noninteractive apt-get update -q
	DEBIAN_FRONTEND=noninteractive $install
}
