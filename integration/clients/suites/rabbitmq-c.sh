# The tests of rabbitmq-c (C). Of them "basic" talks to a broker.
suite() {
    needs cc cmake && debian_source librabbitmq=0.11.0 && cd "$work/librabbitmq" || return
    { cmake -S . -B build -DBUILD_TESTS=ON -DBUILD_EXAMPLES=OFF -DBUILD_TOOLS=OFF -DENABLE_SSL_SUPPORT=OFF &&
        cmake --build build; } >"$work/output" 2>&1 || { tail -30 "$work/output" >&2; return 1; }
    (cd build && redirected ctest --timeout 120 --output-junit "$work/results.xml" ${pattern:+-R "$pattern"}) >"$work/output" 2>&1
    junit_lines "$work/results.xml"
}
