#!/usr/bin/env bash
# Makes .venv in the checkout: the locked stack and Parlance itself. Idempotent; a second call takes milliseconds.
# PYTHON names the interpreter to use (default: the first of python3, python3.12, python3.13, python3.11 that is 3.11 to 3.13).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/.venv runtime=$PWD/.runtime lock=requirements/lock.txt
stamp=$venv/installed
fingerprint=$(cat "$lock" setup.py requirements/install.sh requirements/newer_runtime.sh | sha256sum | cut -d' ' -f1)-$PWD
if [ -x "$venv/bin/parlance" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ]; then
    exit 0
fi

fail() {
    printf 'set-up: %s\n' "$1" >&2
    exit 3
}

python=
for candidate in ${PYTHON:-python3 python3.12 python3.13 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed; tried: ${PYTHON:-python3 python3.12 python3.13 python3.11}. Install one or name it: make setup PYTHON=/path/to/python3.12"
[ "$("$python" -c 'import platform; print(platform.system(), platform.machine())')" = "Linux x86_64" ] ||
    fail "the TFX 1.21 wheels exist for Linux on x86_64 only, this is $(uname -sm)"
# One second of asking beats a failure after three gigabytes of downloads.
free_mib=$(df -Pm . | awk 'NR==2 {print $4}')
[ "$free_mib" -ge 4096 ] || fail "the environment needs 4 GiB, $free_mib MiB are free on the disk of $PWD"

rm -f "$stamp"
if "$python" - <<'PROBE'
import ctypes, platform, sys
libc, version = platform.libc_ver()
try:
    stdcxx = ctypes.CDLL("libstdc++.so.6")
    gcc13 = hasattr(stdcxx, "_ZSt21ios_base_library_initv")  # first shipped with GCC 13 (GLIBCXX_3.4.32)
except OSError:
    gcc13 = False
sys.exit(0 if libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 38) and gcc13 else 1)
PROBE
then
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python -m venv failed (on Debian and Ubuntu it needs the package python3-venv)"
else
    echo "set-up: this system's C runtime is older than the TFX 1.21 wheels need; giving .venv a private newer one (.runtime)"
    bash requirements/newer_runtime.sh "$python" "$venv" "$runtime"
fi

"$venv/bin/python" -m pip install -q --disable-pip-version-check uv
echo "set-up: installing the locked packages into .venv"
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --require-hashes -r "$lock"
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
printf '%s' "$fingerprint" >"$stamp"
