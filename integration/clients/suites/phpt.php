<?php
// Runs one test in the form of PHP's own (phpt) and prints a line about it:
// phpt.php FILE [SETTING=VALUE]...

$path = $argv[1];
$name = basename($path, '.phpt');
$sections = [];
foreach (preg_split('/^--([A-Z_]+)--\r?\n/m', file_get_contents($path), -1, PREG_SPLIT_DELIM_CAPTURE) as $i => $part) {
    if ($i % 2 == 1) {
        $section = $part;
    } elseif ($i > 0) {
        $sections[$section] = $part;
    }
}

function run(string $path, string $suffix, string $code, string $settings = ''): string
{
    $file = dirname($path) . '/' . basename($path, '.phpt') . $suffix . '.php';
    file_put_contents($file, $code);
    $options = '-d display_errors=1 -d html_errors=0 -d error_reporting=32767 -d log_errors=0';
    foreach (array_slice($GLOBALS['argv'], 2) as $setting) {
        $options .= ' -d ' . escapeshellarg($setting);
    }
    foreach (preg_split('/\R/', trim($settings), -1, PREG_SPLIT_NO_EMPTY) as $setting) {
        $options .= ' -d ' . escapeshellarg($setting);
    }
    exec("timeout 45 php $options " . escapeshellarg($file) . ' 2>&1', $lines);
    return implode("\n", $lines);
}

// matcher is the pattern that a section EXPECTF stands for.
function matcher(string $wanted): string
{
    return '/^' . strtr(preg_quote(trim($wanted), '/'), [
        '%a' => '.+', '%A' => '.*', '%s' => '[^\r\n]+', '%S' => '[^\r\n]*', '%d' => '\d+', '%i' => '[+-]?\d+',
        '%f' => '[+-]?\.?\d+\.?\d*(?:[Ee][+-]?\d+)?', '%x' => '[0-9a-fA-F]+', '%w' => '\s*', '%c' => '.', '%e' => '\/', '%%' => '%',
    ]) . '$/s';
}

if (isset($sections['SKIPIF']) && stripos(ltrim(run($path, '.skip', $sections['SKIPIF'])), 'skip') === 0) {
    echo "skip $name\n";
    exit;
}
$got = str_replace("\r\n", "\n", trim(run($path, '', $sections['FILE'], $sections['INI'] ?? '')));
$wanted = str_replace("\r\n", "\n", trim($sections['EXPECT'] ?? $sections['EXPECTF'] ?? $sections['EXPECTREGEX']));
$passed = isset($sections['EXPECT']) ? $got === $wanted
    : preg_match(isset($sections['EXPECTF']) ? matcher($wanted) : '/^' . $wanted . '$/s', $got) === 1;
echo $passed ? 'pass' : 'FAIL', " $name\n";
if (!$passed) {
    fwrite(STDERR, preg_replace('/^/m', '       ', "got:\n$got\nwanted:\n$wanted") . "\n");
}
