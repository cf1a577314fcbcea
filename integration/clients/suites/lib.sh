# To be sourced by the suites: where their sources, their tools and their ports come from.
#
# A suite is a file NAME.sh beside this one with a function suite that prints a line "pass NAME",
# "skip NAME" or "FAIL NAME" for each test, in their order, and what a failing one said on its
# standard error. Its variable exceptions has a line "PATTERN<tab>REASON" for each test whose
# result does not count, because it is one of the machine or of the client and not of the
# broker. A suite finds these set:
#   $work    an empty directory, which is deleted afterwards
#   $cache   a directory that is kept, for what takes long to get
#   $port    of the broker, on 127.0.0.1
#   $management_port    of its management API; may be empty
#   $pattern of the tests to run; may be empty

# debian_source PACKAGE=VERSION unpacks the upstream source of that version of a source package of
# Debian into $work/PACKAGE. The mirror is the one this machine already uses, in any release of
# Debian that has the version; nothing of the machine's own lists is touched.
debian_source() {
    local package=${1%%=*} version=${1#*=} downloads=$cache/debian tarball packaged
    mkdir -p "$downloads" "$work/$package"
    tarball=$(upstream_tarball)
    if [ -z "$tarball" ] && debian_lists; then
        for packaged in $(APT_CONFIG=$cache/apt/conf apt-cache showsrc --only-source "$package" | sed -n "s/^Version: \($version-.*\)/\1/p"); do
            (cd "$downloads" && APT_CONFIG=$cache/apt/conf \
                apt-get --quiet source --download-only --tar-only "$package=$packaged" >"$work/apt.log" 2>&1)
            # The client is what counts, so a part of the source may be missing.
            tarball=$(upstream_tarball)
            [ -n "$tarball" ] && break
        done
    fi
    if [ -z "$tarball" ]; then
        echo "the source of $package $version cannot be had:" >&2
        cat "$work/apt.log" >&2
        return 1
    fi
    tar -xf "$tarball" -C "$work/$package" --strip-components=1
}

upstream_tarball() {
    ls "$downloads/${package}_$version".orig.tar.* 2>/dev/null | head -1
}

# debian_lists gets lists of source packages into a place of its own.
debian_lists() {
    local apt=$cache/apt mirror
    mirror=${DEBIAN_MIRROR:-$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -v snapshot | head -1)}
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    for release in bookworm trixie sid; do
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror% } $release main"
    done >"$apt/sources.list"
    cat >"$apt/conf" <<EOF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
EOF
    [ -n "$(find "$apt/lists" -name '*Sources*' -mtime -1)" ] && return
    APT_CONFIG=$apt/conf apt-get --quiet update >"$work/apt.log" 2>&1 || cat "$work/apt.log" >&2
}

# python_sdist NAME==VERSION unpacks the source distribution of a Python package into $work/NAME.
python_sdist() {
    local name=${1%%=*} version=${1##*=} downloads=$cache/sdist
    mkdir -p "$downloads" "$work/$name"
    [ -f "$downloads/$name-$version.tar.gz" ] ||
        python3 -m pip download --quiet --no-deps --no-binary :all: --dest "$downloads" "$1" >&2 || return
    tar -xf "$downloads/$name-$version.tar.gz" -C "$work/$name" --strip-components=1
}

# python_with REQUIREMENT... prints the path of a Python that has pytest and what is asked for.
python_with() {
    local environment
    environment=$cache/python-$(printf '%s\n' "$@" | cksum | cut -d' ' -f1)
    if [ ! -e "$environment/complete" ]; then
        rm -rf "$environment"
        python3 -m venv "$environment" >&2 &&
            "$environment/bin/pip" install --quiet 'pytest<9' pytest-timeout==2.4.0 "$@" >&2 &&
            touch "$environment/complete" || return
    fi
    echo "$environment/bin/python"
}

# pytest_lines PYTHON ARGUMENT... runs pytest in the current directory.
pytest_lines() {
    local python=$1
    shift
    redirected "$python" -m pytest -p no:cacheprovider --timeout 60 --junitxml "$work/results.xml" ${pattern:+-k "$pattern"} "$@" \
        >"$work/output" 2>&1
    junit_lines "$work/results.xml" || tail -30 "$work/output" >&2
}

# junit_lines FILE... turns results in JUnit's form into lines.
junit_lines() {
    python3 "$here/junit.py" "$@"
}

# redirected COMMAND... runs it with its connections to port 5672 led to $port.
redirected() {
    [ -f "$work/ports.so" ] || cc -shared -fPIC -o "$work/ports.so" "$here/ports.c" -ldl || return
    SUITE_AMQP_PORT=$port SUITE_MANAGEMENT_PORT=$management_port LD_PRELOAD=$work/ports.so "$@"
}

# needs PROGRAM... is false, and says so, when one of them is not installed.
needs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        echo "this suite needs $program" >&2
        return 1
    done
}

# management METHOD PATH [JSON] asks the management API, as guest.
management() {
    curl --silent --show-error --fail --user guest:guest --request "$1" "http://127.0.0.1:$management_port/api/$2" \
        ${3:+--header 'Content-Type: application/json' --data "$3"} >&2
}

# user_of NAME PASSWORD TAGS makes a user.
user_of() {
    management PUT "users/$1" "{\"password\":\"$2\",\"tags\":\"$3\"}"
}

# may_everything USER VHOST... gives a user every right in virtual hosts, which are made if need be.
may_everything() {
    local user=$1 vhost
    shift
    for vhost in "$@"; do
        management PUT "vhosts/$vhost" &&
            management PUT "permissions/$vhost/$user" '{"configure":".*","write":".*","read":".*"}' || return
    done
}

# rust_crate NAME VERSION copies a crate of Rust to $work/NAME.
rust_crate() {
    local name=$1 version=$2 directory
    needs cargo cc cmake || return
    mkdir -p "$work/want/src" && : >"$work/want/src/lib.rs" &&
        printf '[package]\nname = "want"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n' "$name" "$version" \
            >"$work/want/Cargo.toml" || return
    (cd "$work/want" && cargo fetch --quiet) || return
    directory=$(cd "$work/want" && cargo metadata --quiet --format-version 1 |
        python3 -c 'import json, os, sys
name = sys.argv[1]
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == name))' "$name") || return
    cp -r "$directory" "$work/$name" && chmod -R u+w "$work/$name"
}

# cargo_lines runs the tests of the crate in the current directory, one at a time and each in a
# process of its own. A test is called FILE::NAME.
cargo_lines() {
    local file program each
    export CARGO_TARGET_DIR=$cache/cargo/$(basename "$PWD")
    cargo test --quiet --locked --no-run --lib --tests --message-format json 2>"$work/output" |
        python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["profile"]["test"]:
        print(built["target"]["name"], built["executable"])' >"$work/programs"
    [ -s "$work/programs" ] || { tail -30 "$work/output" >&2; return 1; }
    while read -r file program; do
        for each in $("$program" --list --format terse 2>/dev/null | sed -n 's/: test$//p'); do
            [[ $file::$each =~ ${pattern:-.} ]] || continue
            if redirected timeout --kill-after=2 70 "$program" --exact "$each" >"$work/output" 2>&1; then
                if grep -q "^test $each .*ignored" "$work/output"; then
                    echo "skip $file::$each"
                else
                    echo "pass $file::$each"
                fi
            else
                echo "FAIL $file::$each"
                head -30 "$work/output" | sed 's/^/       /' >&2
            fi
        done
    done < <(sort "$work/programs")
}

# go_module MODULE@VERSION copies a Go module to $work/module, which may be written to.
go_module() {
    local directory
    directory=$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') && [ -n "$directory" ] || return
    cp -r "$directory" "$work/module" && chmod -R u+w "$work/module"
}

# go_lines FILES... runs ./suite.test, the tests in these files, each in a process of its own: one
# that hangs or panics takes no other with it. They run in their own order, because a test may
# pass by a message that the one before it leaves behind.
go_lines() {
    local each
    for each in $(grep -h '^func Test' "$@" | sed 's/^func \(Test[A-Za-z0-9_]*\).*/\1/' | grep -v '^TestMain$' | grep -E "${pattern:-.}"); do
        case $needs_management in
        *"
$each
"*)
            echo "except $each (management API)"
            continue
            ;;
        esac
        if timeout --kill-after=2 70 ./suite.test -test.run "^$each\$" -test.v -test.timeout 60s >"$work/output" 2>&1; then
            if grep -q "^--- SKIP: $each " "$work/output"; then
                echo "skip $each"
            else
                echo "pass $each"
            fi
        else
            echo "FAIL $each"
            grep -vE '^(=== |goroutine )' "$work/output" | head -30 | sed 's/^/       /' >&2
        fi
    done
}

# needs_management are the tests of go_lines that are excepted, each on a line of its own.
needs_management=
