#!/bin/sh
# Refreshes the page's third-party modules in collector/fieldwatch_collector/web/vendor from npm, at the versions below.
# Nothing is built: files are taken as published, but for one appended line (uPlot is published minified only as a
# script; the line makes it a module) and the source-map references, which would point nowhere.
# usage: packaging/vendor-web.sh    (needs npm and tar)
set -eu

PREACT=11.2.0
HTM=3.1.1
UPLOT=1.6.32

vendor=$(cd "$(dirname "$0")/../collector/fieldwatch_collector/web/vendor" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() { # NAME VERSION: the package's files into $work/NAME
    mkdir "$work/$1"
    (cd "$work" && npm pack --silent "$1@$2" >/dev/null)
    tar -xzf "$work/$1-$2.tgz" -C "$work/$1" --strip-components=1
    cp "$work/$1/LICENSE" "$vendor/$1.LICENSE"
}

take() { # FROM TO
    sed -e '/^\/\/# sourceMappingURL=/d' -e 's/\/\/# sourceMappingURL=.*$//' "$work/$1" >"$vendor/$2"
}

unpack preact "$PREACT"
take preact/dist/preact.mjs preact.js
take preact/hooks/dist/hooks.mjs preact-hooks.js

unpack htm "$HTM"
take htm/dist/htm.module.js htm.js

unpack uplot "$UPLOT"
take uplot/dist/uPlot.iife.min.js uplot.js
printf '\nexport default uPlot;\n' >>"$vendor/uplot.js"
take uplot/dist/uPlot.min.css uplot.css

cat >"$vendor/VERSIONS" <<TEXT
preact $PREACT MIT preact.js preact-hooks.js
htm $HTM Apache-2.0 htm.js
uplot $UPLOT MIT uplot.js uplot.css
TEXT
