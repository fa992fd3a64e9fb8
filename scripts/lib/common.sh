# Shared by the scripts beside this folder: where the repository is, what a
# fresh Debian lacks, and one-sentence errors. Source it; it runs nothing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# What scripts make memguard learn stays in the repository.
export MEMGUARD_STATE="${MEMGUARD_STATE:-$root/target/state}"

# say WORDS...: progress, on stderr so that a script's output stays its own.
say() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# die WORDS...: one finished sentence that says what to do next.
die() {
    say "$*"
    exit 1
}

# need_cargo: a cargo at least as new as Cargo.toml's rust-version.
need_cargo() {
    local wanted have
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")
    command -v cargo >/dev/null ||
        die "cargo is not installed; install Rust $wanted or newer (https://rustup.rs) and run this again."
    have=$(cargo --version | cut -d' ' -f2 | cut -d- -f1)
    [[ $(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1) == "$wanted" ]] ||
        die "cargo $have is too old: memguard needs $wanted or newer; run 'rustup update' and try again."
}

# need_packages CHECK=PACKAGE...: installs the Debian packages whose CHECK
# fails. CHECK is a command name, or a path when it starts with a slash.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        have_check "${pair%%=*}" || missing+=("${pair#*=}")
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

have_check() {
    case $1 in
    /*) [[ -e $1 ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    local as_root=()
    command -v apt-get >/dev/null ||
        die "these Debian packages, or your system's like, are needed: $*; install them and run this again."
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "run 'apt-get install $*' as root, then run this again."
        as_root=(sudo)
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq >/dev/null
    # Services that start by themselves would hold ports and CPU: keep them off.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install $*; install them by hand and run this again."
}
