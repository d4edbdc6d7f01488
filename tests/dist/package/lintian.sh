# SPDX-License-Identifier: MIT
#
# lintian finds neither errors nor warnings. It is the only judge here: no overrides are in the packages.
. "$SOURCE/tests/dist/consumer/common.sh"

if ! command -v lintian >/dev/null; then
    echo "SKIPPED: no lintian"
    exit 77
fi
lintian --allow-root --no-cfg --display-info --fail-on error,warning "$PACKAGES"/*.deb "$PACKAGES"/*.ddeb
