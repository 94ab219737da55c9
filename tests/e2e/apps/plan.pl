# Sends a plan over one connection:  perl plan.pl PORT LOG PLAN
# A line of JSON for each answer: id, status, body.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use MIME::Base64;

my ($port, $log, $path) = @ARGV;
open(my $in, '<', $path) or die;
my $plan = decode_json(do { local $/; <$in> });
my $http = HTTP::Tiny->new(verify_SSL => 0, keep_alive => 1, proxy => undef, https_proxy => undef);
open(my $out, '>>', $log) or die;
for my $planned (@$plan) {
    my %headers = map { $_->[0] => $_->[1] } @{$planned->{headers}};
    my $body = decode_base64($planned->{body});
    my $answer = $http->request($planned->{method}, "https://127.0.0.1:$port$planned->{target}",
        { headers => \%headers, length $body ? (content => $body) : () });
    print $out encode_json([$planned->{id}, $answer->{status} + 0, encode_base64($answer->{content}, '')]), "\n";
}
