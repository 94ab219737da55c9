<?php
// Sends a plan, a connection a request:  php plan.php PORT LOG PLAN
// A line of JSON for each answer: id, status, body.
[, $port, $log, $path] = $argv;
foreach (json_decode(file_get_contents($path), true) as $planned) {
    $lines = array_map(fn($pair) => "$pair[0]: $pair[1]", $planned['headers']);
    $context = stream_context_create([
        'http' => [
            'method' => $planned['method'],
            'header' => $lines,
            'content' => base64_decode($planned['body']),
            'protocol_version' => 1.1,
        ],
        'ssl' => ['verify_peer' => false, 'verify_peer_name' => false],
    ]);
    $got = file_get_contents("https://127.0.0.1:$port" . $planned['target'], false, $context);
    $status = (int) explode(' ', $http_response_header[0])[1];
    file_put_contents($log, json_encode([$planned['id'], $status, base64_encode($got)]) . "\n", FILE_APPEND);
}
